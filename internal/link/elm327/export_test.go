package elm327

import (
	"context"
	"io"

	"obdgate/internal/link"
)

// OpenOver opens an adapter over streams that dial makes, one for each opening, at the rates tried in this order. A
// stream's Read returns within 100 ms: 0, nil means that nothing came.
func OpenOver(ctx context.Context, dial func(baud int) (io.ReadWriteCloser, error), bauds ...int) (link.Link, error) {
	return OpenWith(ctx, Options{}, dial, bauds...)
}

// OpenWith is OpenOver with a memory.
func OpenWith(ctx context.Context, o Options, dial func(baud int) (io.ReadWriteCloser, error), bauds ...int) (link.Link, error) {
	at := address{uri: "elm:test", port: "test"}
	l, err := start(ctx, at, func(_ context.Context, baud int) (port, error) { return dial(baud) }, bauds, o, o.recall()[at.place()])
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Rates are those tried when none is given.
func Rates() []int { return rates }

package elm327

import (
	"context"
	"io"

	"obdgate/internal/link"
)

// OpenOver opens an adapter over streams that dial makes, one for each opening, at the rates tried in this order. A
// stream's Read returns within 100 ms: 0, nil means that nothing came.
func OpenOver(ctx context.Context, dial func(baud int) (io.ReadWriteCloser, error), bauds ...int) (link.Link, error) {
	l, err := start(ctx, address{uri: "elm:test"}, func(_ context.Context, baud int) (port, error) { return dial(baud) }, bauds, Options{}, Record{})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Rates are those tried when none is given.
func Rates() []int { return rates }

package elm327

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"obdgate/internal/link"
)

// Options of Open. The zero value remembers nothing.
type Options struct {
	// Dir is where records of adapters are kept between programs, so that the next start is fast: the rate is tried first
	// that worked last. "" = nowhere. The file holds ports and what their adapters can do, nothing else.
	Dir string
	// Reopen is how long a link that dropped may take to come back; 0 = eight seconds, negative = it is not waited for.
	Reopen time.Duration
	// Lost is told, once for each drop, that the adapter has gone silent or was pulled out and is waited for, at most for so
	// long, and later with 0 that it has come back. It is called from a goroutine of the link and must not call the link;
	// nil = nobody listens.
	Lost func(wait time.Duration)
}

// Open is the package's Open with what was remembered of the port's adapter.
func (o Options) Open(ctx context.Context, uri string) (link.Link, error) { return open(ctx, uri, o) }

const (
	memoryFile = "adapters.json"
	maxMemory  = 1 << 20
	maxPorts   = 64
)

// recall reads the records. A file that is missing or damaged is an empty one: it costs a slower start, nothing else.
func (o Options) recall() map[string]Record {
	all := map[string]Record{}
	if o.Dir == "" {
		return all
	}
	b, err := os.ReadFile(filepath.Join(o.Dir, memoryFile))
	if err != nil || len(b) > maxMemory || json.Unmarshal(b, &all) != nil {
		return map[string]Record{}
	}
	return all
}

// Remembered returns the records kept in Dir without the ports they belong to, in no meaningful order.
func (o Options) Remembered() []Record {
	var out []Record
	for _, r := range o.recall() {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int {
		return cmp.Or(strings.Compare(a.Adapter, b.Adapter), strings.Compare(a.STN, b.STN), cmp.Compare(a.Baud, b.Baud), cmp.Compare(a.Trip, b.Trip))
	})
	return out
}

// store keeps the record of one port. What cannot be written is forgotten.
func (o Options) store(port string, r Record) {
	if o.Dir == "" {
		return
	}
	all := o.recall()
	if _, known := all[port]; !known && len(all) >= maxPorts {
		clear(all)
	}
	all[port] = r
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil || os.MkdirAll(o.Dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(o.Dir, memoryFile+".*")
	if err != nil {
		return
	}
	_, err = f.Write(append(b, '\n'))
	if closed := f.Close(); err != nil || closed != nil || os.Rename(f.Name(), filepath.Join(o.Dir, memoryFile)) != nil {
		_ = os.Remove(f.Name())
	}
}

// place is what a record belongs to.
func (a address) place() string {
	if a.host != "" {
		return a.host
	}
	return a.port
}

// Known is what is remembered of this adapter; Badge Unproven when it was never probed.
func (l *Link) Known() Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record
}

func (l *Link) remember(r Record) {
	l.mu.Lock()
	l.record = r
	l.mu.Unlock()
	l.options.store(l.addr.place(), r)
}

// recognise compares the adapter with the record of its port and takes from it what would have to be found out again.
func (l *Link) recognise(old Record) {
	now := Record{Adapter: l.a.banner, STN: l.a.stn, Baud: l.baud}
	if l.a.baud != l.baud {
		now.Raised = l.a.baud
	}
	if old.Adapter != now.Adapter || old.STN != now.STN {
		l.remember(now)
		return
	}
	l.a.can.noDigit = l.a.can.noDigit || old.Can[Count] == No
	l.a.can.noPX = l.a.can.noPX || old.Can[STPX] == No
	if old.Baud != now.Baud || old.Raised != now.Raised {
		old.Baud, old.Raised = now.Baud, now.Raised
		l.remember(old)
		return
	}
	l.record = old
}

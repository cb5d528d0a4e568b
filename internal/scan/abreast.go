package scan

import (
	"context"
	"iter"

	"obdgate/internal/diag"
)

// abreast does jobs side by side where the link can ask several control units at once, else one after the other. A job asks
// one control unit; it stops at each of its questions until those of the others have been put as well, and they all go onto
// the bus together. Only one job runs at a time, so that they may share this reader.
func (r *reader) abreast(ctx context.Context, jobs []func(context.Context) error) error {
	if len(jobs) < 2 || r.lane != nil || !r.conn.Parallel() {
		for _, job := range jobs {
			if err := job(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	lanes := make([]*lane, len(jobs))
	for i, job := range jobs {
		l := &lane{}
		l.next, l.stop = iter.Pull(func(yield func(diag.Request) bool) {
			l.yield = yield
			l.err = job(ctx)
		})
		lanes[i] = l
		defer l.stop()
	}
	for len(lanes) > 0 {
		var asking []*lane
		var questions []diag.Request
		for _, l := range lanes {
			r.lane = l
			q, more := l.next()
			r.lane = nil
			switch {
			case more:
				asking, questions = append(asking, l), append(questions, q)
			case l.err != nil:
				return l.err
			}
		}
		r.faulted = false
		for i, reply := range r.conn.Together(ctx, questions) {
			asking[i].reply = reply
		}
		lanes = asking
	}
	return nil
}

// lane is one job between two of its questions.
type lane struct {
	next  func() (diag.Request, bool)
	stop  func()
	yield func(diag.Request) bool
	reply diag.Reply
	err   error
}

// request puts one question, in a job of abreast beside those of the others.
func (r *reader) request(ctx context.Context, q diag.Request) ([]diag.Answer, error) {
	l := r.lane
	if l == nil {
		return r.conn.Request(ctx, q)
	}
	if !l.yield(q) {
		return nil, context.Canceled // another job has ended the scan
	}
	return l.reply.Answers, l.reply.Err
}

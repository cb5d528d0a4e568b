package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/bus"
	"obdgate/internal/sim/elm"

	"github.com/spf13/cobra"
)

type simOptions struct {
	on, log, adapter string
	faults           []string
	traffic          bool
	speed            float64
}

func (p *program) sim() *cobra.Command {
	var o simOptions
	c := &cobra.Command{
		Use: "sim NAME|FILE --on ADDRESS", Short: "A virtual vehicle for other programs to talk to", Args: argsBetween(0, 1),
		Long: `sim runs a virtual vehicle until it is interrupted. It prints one line, "ready ADDRESS", when it listens.
Without a name it lists the built-in vehicles. ADDRESS is one of

  elm+tcp://127.0.0.1:35000   an ELM327 on TCP (port 0: any free one)
  elm+pty:PATH                an ELM327 on a pseudo terminal; PATH becomes a link to it
  can://vcan0                 the vehicle itself on a SocketCAN interface`,
		Example: `  obdgate sim
  obdgate sim golf8 --on elm+tcp://127.0.0.1:35000
  obdgate sim mini --on can://vcan0 --traffic --log asked.log
  obdgate sim golf8 --on can://vcan0 --fault loss=30%,reorder=5%`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, n := range sim.Names() {
					fmt.Fprintln(p.Out, n)
				}
				return nil
			}
			return p.runSim(c.Context(), args[0], o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.on, "on", "elm+tcp://127.0.0.1:35000", "where the vehicle listens")
	f.StringVar(&o.log, "log", "", "write every request the vehicle receives to this file")
	f.StringVar(&o.adapter, "adapter", "", "which adapter stands in front, "+elm.DefaultPersonality+" when none is named; list names them all")
	f.StringSliceVar(&o.faults, "fault", nil, "what goes wrong with that adapter, or on a CAN bus (loss=30%), several with commas; list names them all")
	f.BoolVar(&o.traffic, "traffic", false, "send the vehicle's broadcast frames too")
	f.Float64Var(&o.speed, "time", 1, "real seconds per modelled second of adapter and cable; 0 waits for nothing")
	return c
}

func (p *program) runSim(ctx context.Context, name string, o simOptions) error {
	v, err := sim.Load(name)
	if err != nil {
		return fail(exitNoInput, "built-in vehicles are "+strings.Join(sim.Names(), ", "), err)
	}
	if o.log != "" {
		f, err := os.OpenFile(o.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fail(exitCantCreate, "", err)
		}
		defer f.Close() //nolint:errcheck // the log is advisory; a full disk shows in its length
		v.LogTo(f)
	}
	v.SetTraffic(o.traffic, 0)
	scheme, _, _ := link.Split(o.on)
	switch scheme {
	case "can":
		plan, err := bus.Parse(o.faults)
		if err != nil {
			return usage("faults of a CAN bus:\n"+bus.Help, err)
		}
		l, err := socketcan.Open(ctx, o.on)
		if err != nil {
			return err
		}
		defer l.Close() //nolint:errcheck // the program ends here
		if len(o.faults) > 0 {
			return p.disturbed(ctx, v, l, o.on, plan)
		}
		p.ready(o.on)
		return quietEnd(ctx, v.Serve(ctx, l))
	case "elm+tcp", "elm+pty":
		adapter, err := elm.ByName(o.adapter)
		if err != nil {
			return usage("", err)
		}
		faults, err := elm.Faults(o.faults...)
		if err != nil {
			return usage("", err)
		}
		return quietEnd(ctx, elm.Serve(ctx, o.on, v, adapter, elm.Options{Scale: o.speed, Ready: p.ready, Faults: faults}))
	}
	return usage("can://vcan0, elm+tcp://127.0.0.1:35000 or elm+pty:PATH", fmt.Errorf("a vehicle cannot listen on %q", o.on))
}

// disturbed puts a bus with faults between the vehicle and the one the tester is on.
func (p *program) disturbed(ctx context.Context, v *sim.Vehicle, l link.Link, on string, plan bus.Plan) error {
	inside := memory.NewBus()
	car, right := inside.Attach(v.Name()), inside.Attach("bus")
	served := inBackground(func() error { return v.Serve(ctx, car) })
	p.ready(on)
	did, err := bus.Serve(ctx, l, right, plan)
	err = errors.Join(err, right.Close(), car.Close())
	if end := served(); !errors.Is(end, link.ErrClosed) {
		err = errors.Join(err, end)
	}
	p.say("sim.disturbed", did.Carried, did.Lost, did.Doubled, did.Reordered, did.Waits, did.Muted, did.Babble)
	return quietEnd(ctx, err)
}

func (p *program) ready(address string) { fmt.Fprintln(p.Out, "ready", address) }

// quietEnd makes the user's interrupt the normal end of a program that runs until then.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err()) || errors.Is(err, link.ErrClosed)) {
		return nil
	}
	return err
}

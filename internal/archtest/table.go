package archtest

// house is the order of design: data flows from the first room to the last. A room may import only rooms above it, and of
// those only the ones its line names.
var house = rules{
	rooms: []room{
		{dir: "internal/testtier", tests: true},
		{dir: "internal/pinned", tests: true},
		{dir: "internal/crash"},

		// What a bus says.
		{dir: "internal/frame", pure: true},
		{dir: "internal/canlog", pure: true, may: []string{"internal/frame"}},
		{dir: "internal/canlog/asc", pure: true, may: []string{"internal/frame", "internal/canlog"}},
		{dir: "internal/canlog/pcapng", pure: true, may: []string{"internal/frame", "internal/canlog"}},
		{dir: "internal/canlog/blf", pure: true, may: []string{"internal/frame", "internal/canlog"}},
		{dir: "internal/canlog/open", pure: true, may: []string{"internal/frame", "internal/canlog", "internal/canlog/asc", "internal/canlog/pcapng",
			"internal/canlog/blf"}},
		{dir: "internal/isotp", pure: true, may: []string{"internal/frame"}},

		// How it reaches us.
		{dir: "internal/link", may: []string{"internal/frame"}},
		{dir: "internal/link/linktest", tests: true, may: []string{"internal/frame", "internal/link"}},
		{dir: "internal/link/memory", may: []string{"internal/frame", "internal/link"}},
		{dir: "internal/link/replay", may: []string{"internal/crash", "internal/frame", "internal/canlog", "internal/canlog/open", "internal/isotp",
			"internal/link"}},
		{dir: "internal/link/elm327", may: []string{"internal/crash", "internal/frame", "internal/isotp", "internal/link"}},
		{dir: "internal/link/socketcan", may: []string{"internal/frame", "internal/link"}},
		{dir: "internal/diag", may: []string{"internal/crash", "internal/frame", "internal/isotp", "internal/link"}},
		{dir: "internal/play", may: []string{"internal/frame", "internal/canlog", "internal/link", "internal/diag"}}, // diag: its list of what only reads

		// What it means.
		{dir: "internal/reading", pure: true},
		{dir: "internal/vin", pure: true, may: []string{"internal/reading"}},
		{dir: "internal/dtc", pure: true, may: []string{"internal/reading"}},
		{dir: "internal/obd", pure: true, may: []string{"internal/reading", "internal/vin", "internal/dtc"}},
		{dir: "internal/obfcm", pure: true, may: []string{"internal/reading"}},
		{dir: "internal/odometer", pure: true, may: []string{"internal/isotp", "internal/reading"}},
		{dir: "internal/maker", pure: true, may: []string{"internal/isotp", "internal/reading"}},
		{dir: "internal/uds", pure: true, may: []string{"internal/reading", "internal/vin", "internal/dtc", "internal/obd"}},
		{dir: "internal/decode", may: []string{"internal/isotp", "internal/diag", "internal/reading",
			"internal/dtc", "internal/obd", "internal/uds", "internal/obfcm", "internal/odometer", "internal/maker"}},

		// What may be done with it.
		{dir: "dbc", may: []string{"internal/frame", "internal/reading"}},
		{dir: "internal/policy", pure: true, may: []string{"internal/frame", "internal/isotp", "internal/reading",
			"internal/obd", "internal/uds", "internal/obfcm", "dbc"}},
		{dir: "internal/monitor", may: []string{"internal/crash", "internal/frame", "internal/link", "internal/reading", "dbc", "internal/policy"}},
		{dir: "internal/classify", may: []string{"internal/crash", "internal/frame", "internal/canlog", "internal/canlog/pcapng", "dbc", "internal/policy"}},
		{dir: "internal/classify/loggen", tests: true, may: []string{"internal/frame", "internal/canlog"}},
		{dir: "internal/consent", pure: true},
		{dir: "internal/recipient", may: []string{"internal/consent"}},
		{dir: "internal/visit", pure: true, may: []string{"internal/reading", "internal/vin", "internal/obfcm", "internal/odometer"}},
		{dir: "internal/ledger", may: []string{"internal/consent"}},
		{dir: "internal/scan", may: []string{"dbc", "internal/frame", "internal/canlog", "internal/isotp", "internal/link", "internal/diag",
			"internal/reading", "internal/vin", "internal/dtc", "internal/obd", "internal/uds", "internal/obfcm", "internal/odometer",
			"internal/maker", "internal/decode", "internal/policy", "internal/consent", "internal/visit"}},

		// Where it stays, and how it leaves.
		{dir: "internal/store", may: []string{"internal/crash", "internal/reading", "internal/vin", "internal/obfcm", "internal/odometer",
			"internal/consent", "internal/recipient", "internal/visit", "internal/ledger"}},
		{dir: "internal/wire", pure: true},
		{dir: "internal/gate", may: []string{"internal/reading", "internal/vin", "internal/obfcm", "internal/odometer", "internal/policy",
			"internal/consent", "internal/recipient", "internal/wire"}},
		{dir: "internal/outbox", may: []string{"internal/crash", "internal/consent", "internal/recipient", "internal/ledger", "internal/store", "internal/wire",
			"internal/gate"}},
		{dir: "internal/rights", may: []string{"internal/reading", "internal/policy", "internal/consent", "internal/ledger",
			"internal/store"}},
		{dir: "internal/uplink", may: []string{"internal/recipient", "internal/wire", "internal/gate"}},
		{dir: "internal/collector", may: []string{"internal/crash", "internal/reading", "internal/policy", "internal/consent", "internal/recipient",
			"internal/wire"}},

		// Cars that are not there.
		{dir: "fixtures"},
		{dir: "internal/sim", may: []string{"internal/crash", "internal/frame", "internal/link", "fixtures"}},
		{dir: "internal/sim/bus", may: []string{"internal/crash", "internal/frame", "internal/link"}},
		{dir: "internal/sim/elm", may: []string{"internal/crash", "internal/frame", "internal/link", "internal/sim"}},

		// What people see.
		{dir: "internal/i18n"},
		{dir: "internal/report", may: []string{"internal/reading", "internal/dtc", "internal/obd", "internal/uds",
			"internal/obfcm", "internal/odometer", "internal/maker", "internal/decode", "internal/policy", "internal/classify", "internal/consent", "internal/recipient",
			"internal/visit", "internal/ledger", "internal/wire", "internal/outbox", "internal/i18n"}},
		{dir: "internal/cli", may: []string{"internal/crash", "dbc", "internal/frame", "internal/canlog", "internal/canlog/open", "internal/play", "internal/monitor",
			"internal/link", "internal/link/memory", "internal/link/replay", "internal/link/elm327",
			"internal/link/socketcan", "internal/reading", "internal/decode", "internal/policy", "internal/classify", "internal/consent",
			"internal/recipient", "internal/visit", "internal/ledger", "internal/scan", "internal/store", "internal/wire",
			"internal/gate", "internal/outbox", "internal/uplink", "internal/collector", "internal/sim", "internal/sim/bus", "internal/sim/elm",
			"internal/rights", "internal/i18n", "internal/report"}},
		{dir: "cmd/obdgate", may: []string{"internal/cli"}},
		{dir: "internal/collector/command", may: []string{"internal/crash", "internal/collector"}},
		{dir: "cmd/obdgate-collector", may: []string{"internal/collector/command"}},

		{dir: "internal/archtest", tests: true, tooling: true},
		{dir: "vcan", tooling: true},
		{dir: "e2e", tests: true, tooling: true},
		{dir: "leaks", tests: true, tooling: true},
	},

	never: []never{
		{from: "internal/sim", to: []string{"internal/isotp", "internal/diag", "internal/obd", "internal/uds", "internal/obfcm",
			"internal/dtc", "internal/decode", "internal/policy"}, indirect: true,
			why: "a simulator that shares the codec hides the codec's bugs"},
		{from: "internal/sim/elm", to: []string{"internal/isotp", "internal/diag", "internal/obd", "internal/uds", "internal/link/elm327"},
			indirect: true, why: "the adapter's other end is written from the data sheet, not from our driver"},
		{from: "internal/uplink", to: []string{"internal/store", "internal/visit", "internal/vin", "internal/consent", "internal/reading",
			"internal/policy", "internal/outbox"},
			why: "what talks to the network sees sealed envelopes and nothing they were made from"},
		{from: "internal/wire", to: []string{"internal/reading", "internal/vin", "internal/visit", "internal/consent", "internal/policy",
			"internal/gate"}, indirect: true, why: "the schema is shared with the receiving end, which must not get our types with it"},
		{from: "internal/collector", to: []string{"internal/store", "internal/visit", "internal/gate", "internal/ledger", "internal/outbox",
			"internal/uplink"}, indirect: true, why: "the receiving end is another house: it knows the schema, not the workshop's state"},
		{from: "internal/diag", to: []string{"internal/obd", "internal/uds", "internal/policy", "internal/consent"}, indirect: true,
			why: "asking and understanding are two rooms; what may be asked is decided by scan's plan"},
		{from: "internal/gate", to: []string{"internal/store", "internal/visit", "internal/outbox", "internal/uplink", "internal/link",
			"internal/diag"}, indirect: true,
			why: "the door sees tagged values handed to it; it cannot fetch anything itself"},
		{from: "internal/report", to: []string{"internal/store", "internal/gate", "internal/uplink", "internal/link"},
			why: "what shows things is handed them: it fetches nothing, lets nothing out and touches no vehicle"},
	},

	packages: []restricted{
		{path: "C", why: "no C in the product: it must cross-compile and its memory must be safe"},
		{path: "unsafe", why: "nothing here is worth a memory fault in a workshop"},
		{path: "os/exec", why: "the product starts no other programs: nothing to inject into, nothing missing on the next machine"},
		{path: "plugin", why: "the product is what was built and reviewed"},
		{path: "log", why: "loggers are log/slog and are passed in"},
		{path: "log/slog", rooms: []string{"*"}, why: ""},
		{path: "math/rand", rooms: []string{"internal/sim", "internal/sim/bus", "internal/sim/elm", "internal/outbox", "internal/classify/loggen"},
			why: "only for jitter, simulated timing and recordings to measure with; identifiers and keys come from crypto/rand"},
		{path: "net", rooms: []string{"internal/link/elm327", "internal/link/socketcan", "internal/sim/elm", "internal/uplink",
			"internal/collector", "internal/collector/command", "internal/cli", "internal/testtier"},
			why: "sockets: adapters (Wi-Fi ELM327, CAN interfaces), the simulated adapter, the way out, the receiving end, and the demo's " +
				"two listeners on loopback; nobody else can send anything anywhere"},
		{path: "net/url", rooms: []string{"*"}, why: ""},
		{path: "net/netip", rooms: []string{"*"}, why: ""},
		{path: "net/mail", rooms: []string{"internal/store"}, why: "addresses are read there; nothing is sent with it"},
		{path: "net/http", rooms: []string{"internal/uplink", "internal/collector"},
			why: "one way out and one receiving end; a second HTTP client would be a second door"},
		{path: "syscall", rooms: []string{"internal/link/socketcan", "internal/link/elm327", "internal/sim/elm", "internal/store", "internal/cli", "cmd/obdgate", "cmd/obdgate-collector"},
			why: "the sockets and ports of adapters, file locks and rights of the state, and the signals and errors of the programs"},
		{path: "testing", rooms: []string{"internal/testtier", "internal/link/linktest"}, why: "test support stays out of the product"},
		{path: "database/sql", rooms: []string{"internal/store", "internal/ledger", "internal/outbox",
			"internal/collector"}, why: "state lives in these rooms"},

		// Dependencies, each wrapped where it is used.
		{path: "go.einride.tech/can/pkg/socketcan", rooms: []string{"internal/link/socketcan"}, why: "its traps are handled there"},
		{path: "go.einride.tech/can/pkg/candevice", rooms: []string{"internal/link/socketcan"}, why: "its traps are handled there"},
		{path: "go.einride.tech/can", why: "its frames are not validated and its signals are clamped; ours are used"},
		{path: "golang.org/x/sys/unix", rooms: []string{"internal/link/socketcan", "internal/testtier", "internal/store"},
			why: "system calls: the CAN socket, rights of the state directory"},
		{path: "golang.org/x/sys/windows/registry", rooms: []string{"internal/link/elm327"}, why: "serial ports are listed there"},
		{path: "golang.org/x/sys/windows", rooms: []string{"internal/store"}, why: "rights of the state directory"},
		{path: "github.com/tarm/serial", rooms: []string{"internal/link/elm327"}, why: "its timeouts and Close are handled there"},
		{path: "github.com/klauspost/compress", rooms: []string{"internal/canlog/blf", "internal/canlog/open"}, why: "recordings are unpacked there"},
		{path: "github.com/creack/pty", rooms: []string{"internal/sim/elm"}, why: "a simulated adapter on a terminal"},
		{path: "github.com/goccy/go-yaml", rooms: []string{"internal/policy", "internal/sim", "internal/sim/elm"},
			why: "policies, vehicles and adapters are YAML; nothing else is"},
		{path: "github.com/charmbracelet/lipgloss", rooms: []string{"internal/report"}, why: "what a terminal shows"},
		{path: "github.com/skip2/go-qrcode", rooms: []string{"internal/report"}, why: "what a page shows"},
		{path: "html/template", rooms: []string{"internal/report"}, why: "what a page shows"},
		{path: "github.com/vbauerster/mpb/v8", rooms: []string{"internal/cli"}, why: "what a terminal shows"},
		{path: "golang.org/x/term", rooms: []string{"internal/cli", "internal/sim/elm"}, why: "what a terminal is"},
		{path: "github.com/spf13/cobra", rooms: []string{"internal/cli", "internal/collector/command"}, why: "commands are read there"},
		{path: "modernc.org/sqlite", rooms: []string{"internal/store", "internal/collector"}, why: "databases are opened there"},
		{path: "github.com/jackc/pgx/v5", rooms: []string{"internal/collector/command"}, why: "only the program of a group or a manufacturer speaks to PostgreSQL; the workshop's starts and ships without it"},
		{path: "github.com/pressly/goose/v3", rooms: []string{"internal/store", "internal/collector"}, why: "databases are migrated there"},
		{path: "github.com/zalando/go-keyring", rooms: []string{"internal/store"}, why: "the station key is kept there"},
		{path: "github.com/transparency-dev/merkle", rooms: []string{"internal/ledger"}, why: "the log is built there"},
		{path: "golang.org/x/mod/modfile", rooms: []string{"internal/archtest"}, why: "go.mod is read there"},
		{path: "golang.org/x/mod/sumdb/note", rooms: []string{"internal/ledger"}, why: "heads are signed there"},
		{path: "github.com/santhosh-tekuri/jsonschema/v6", why: "it compiles all drafts at each start; tests hold wire's own to it"},
		{path: "github.com/stretchr/testify", rooms: []string{"internal/link/linktest"}, why: "test support stays out of the product"},
		{path: "go.uber.org/goleak", rooms: []string{"internal/link/linktest"}, why: "test support stays out of the product"},
		{path: "pgregory.net/rapid", rooms: []string{"internal/pinned"}, why: "test support stays out of the product"},
	},

	clocks: []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local",
		"LoadLocation"},

	calls: []restrictedCall{
		{name: "Dial", rooms: dialers, why: dialersWhy},
		{name: "DialTimeout", rooms: dialers, why: dialersWhy},
		{name: "DialContext", rooms: dialers, why: dialersWhy},
		{name: "Dialer", rooms: dialers, why: dialersWhy},
		{name: "Clear", rooms: []string{"internal/diag", "internal/scan", "internal/cli"},
			why: "clearing a fault memory is the one thing that changes a vehicle: from the command, through scan's conditions, to the bus"},
		{name: "Reveal", rooms: []string{
			"internal/vin", "internal/reading", // define it for a vehicle's identity
			"internal/gate",      // puts the VIN of a consented purpose into an envelope
			"internal/store",     // encrypts it, and makes the keyed hash it is found by
			"internal/report",    // shows it to the technician who has the car in front of him
			"internal/decode",    // the command of that name shows the asker what he typed in
			"internal/recipient", // of its own Secret: the private key for TLS
			"internal/uplink",    // the same
		}, why: "a vehicle's identity and the workshop's keys print nowhere else, so they leak nowhere else"},
	},

	names: map[string]string{
		"util": notAConcept, "utils": notAConcept, "common": notAConcept, "helpers": notAConcept, "helper": notAConcept,
		"types": notAConcept, "misc": notAConcept, "shared": notAConcept, "base": notAConcept, "models": notAConcept,
		"interfaces": notAConcept, "lib": notAConcept, "core": notAConcept,
	},

	blank: map[string][]string{
		"modernc.org/sqlite":             {"internal/store", "internal/collector"},
		"github.com/jackc/pgx/v5/stdlib": {"internal/collector/command"},
	},
}

// dialers open connections: to a Wi-Fi adapter, to the receiving end. Listening is not sending.
var dialers = []string{"internal/link/elm327", "internal/uplink"}

const dialersWhy = "only the adapter's room and the way out open connections"

const notAConcept = "a package is named after the one thing it is; this name is a drawer"

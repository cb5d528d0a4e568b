package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// eavesdropper is an adapter in front of a car that says little. It notes what it is told to put on the bus, read without
// our codec.
type eavesdropper struct {
	mu   sync.Mutex
	seen map[byte]int // services, by the first byte of each request
	bad  []string
	ln   net.Listener
	// clearing: the command line is clear with a request named; it may then say 04 or 14 FFFFFF, and nothing else.
	clearing bool
	cleared  int
}

func (e *eavesdropper) serve() {
	for {
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		go e.talk(c)
	}
}

func (e *eavesdropper) talk(c net.Conn) {
	defer c.Close() //nolint:errcheck // the test's end
	pci := false    // the tester writes the length byte itself
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\r')
		if err != nil {
			return
		}
		line = strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		answer := "OK"
		switch {
		case line == "ATZ" || line == "ATI" || line == "ATWS":
			answer = "ELM327 v1.5"
		case line == "ATRV":
			answer = "12.4V"
		case line == "ATDPN":
			answer = "6"
		case line == "ATCAF0":
			pci = true
		case line == "ATCAF1":
			pci = false
		case strings.HasPrefix(line, "STPX"):
			_, data, _ := strings.Cut(line, "D:")
			data, _, _ = strings.Cut(data, ",")
			answer = e.request(data, true)
		case strings.HasPrefix(line, "ST"):
			answer = "?"
		case line != "" && !strings.HasPrefix(line, "AT"):
			answer = e.request(line, pci)
		}
		if _, err := fmt.Fprintf(c, "%s\r\r>", answer); err != nil {
			return
		}
	}
}

func (e *eavesdropper) request(text string, pci bool) string {
	if len(text)%2 == 1 {
		text = text[:len(text)-1] // how many answers to wait for
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 {
		return "?"
	}
	if pci {
		if b[0]>>4 != 0 { // flow control
			return "NO DATA"
		}
		b = b[1:min(len(b), 1+int(b[0]))]
	}
	if len(b) == 0 {
		return "?"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.clearing && (bytes.Equal(b, []byte{0x04}) || bytes.Equal(b, []byte{0x14, 0xFF, 0xFF, 0xFF})) {
		e.cleared++
		return fmt.Sprintf("7E8 01 %02X", b[0]+0x40)
	}
	e.seen[b[0]]++
	if !bytes.Contains([]byte("\x01\x02\x03\x06\x07\x09\x0A\x19\x1A\x21\x22\x3E"), b[:1]) && !bytes.Equal(b, []byte{0x10, 0x01}) {
		e.bad = append(e.bad, text)
	}
	switch {
	case bytes.Equal(b, []byte{0x01, 0x00}):
		return "7E8 06 41 00 80 00 00 00"
	case b[0] == 0x03:
		return "7E8 02 43 00"
	}
	return "NO DATA"
}

// Whatever is typed, behind whatever adapter: the bus sees questions that read. OBDGATE_CLI_FUZZ is how many command lines
// are tried (20000: some minutes); most are broken, as typing is.
func TestWhateverIsTyped(t *testing.T) {
	newProgram(t)
	n := 60
	if s := os.Getenv("OBDGATE_CLI_FUZZ"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := &eavesdropper{seen: map[byte]int{}, ln: ln}
	var done sync.WaitGroup
	done.Go(e.serve)
	car := "elm+tcp://" + ln.Addr().String()
	dir := t.TempDir()
	t.Chdir(dir) // what is typed may name a file
	recording := filepath.Join(dir, "wrote.log")
	require.NoError(t, os.WriteFile(recording, []byte("(1690000000.000000) can0 7E0#062EF19041\n(1690000000.010000) can0 7E8#036EF190\n"), 0o600))
	r := rand.New(rand.NewPCG(14229, 20))
	codes := map[int]int{}
	reached := 0
	for i := range n {
		args := commandLine(r, car, recording)
		if args[0] == "demo" || args[0] == "sim" {
			continue // they make their own car
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		before := e.total()
		request := slices.Index(args, "--request")
		e.mu.Lock()
		e.clearing = slices.Contains(args, "clear") && request > 0 && request+1 < len(args) && strings.TrimSpace(args[request+1]) != ""
		e.mu.Unlock()
		codes[Main(ctx, args, Streams{In: strings.NewReader("04\n14FFFFFF\n"), Out: io.Discard, Err: io.Discard})]++
		cancel()
		if e.total() > before {
			reached++
		}
		if i%64 == 63 {
			require.NoError(t, os.RemoveAll(os.Getenv("OBDGATE_HOME"))) // a visit with thousands of scans is another test
		}
	}
	require.NoError(t, ln.Close())
	done.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(e.seen)) {
		fmt.Fprintf(&b, "  %02X  %7d\n", s, e.seen[s])
	}
	t.Logf("%d command lines, %d of them reached the bus, exit codes %v\nservices the bus saw, and how often\n%sclear at a named request, codes saved before: %d", n, reached, codes, b.String(), e.cleared)
	require.Empty(t, e.bad)
	require.Positive(t, reached)
}

func (e *eavesdropper) total() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.seen {
		n += k
	}
	return n
}

// commandLine is one command line, most of them broken, as typing is. car is an address behind which somebody listens.
func commandLine(r *rand.Rand, car, recording string) []string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	link := pick(car, car, car, car, car, car, car, car, car+"?baud=04", car+"?init=2EF19041", car+"/2EF190", strings.ToUpper(car), car+"\r14FFFFFF", "sim:golf8", "sim:", "replay:"+recording, "can://vcan0", "2EF19041", "")
	var args []string
	switch r.IntN(8) {
	case 0, 1, 2:
		args = []string{"scan", link, "--plan", pick("quick", "full", "quick", "full", "04")}
	case 3:
		args = []string{"clear", link, "--visit", pick("v1", "", "04"), "--request", pick("paper", "14FFFFFF", "")}
	case 4:
		args = []string{"monitor", link, "--" + pick("only", "decode", "count", "dbc"), pick("technical", "14FFFFFF", "1")}
	case 5:
		args = []string{"replay", recording, "--on", link}
	case 6:
		args = []string{pick("decode", "explain", "doctor", "policy", "visit", "sim"), pick("2EF190", "14FFFFFF", "04", "lint", "open", link), pick("6EF190", "54", "44", "--json")}
	default:
		args = []string{pick("scan", "clear", "monitor", "demo", "write", "2E"), link, "--" + pick("service", "raw", "send", "plan", "record", "visit"), pick("2EF19041", "31010203", "04")}
	}
	for range max(0, r.IntN(5)-2) { // as typing goes wrong
		switch j := r.IntN(len(args)); r.IntN(3) {
		case 0:
			args = slices.Delete(args, j, j+1)
		case 1:
			args = slices.Insert(args, j, pick("04", "14FFFFFF", "-v", "--json", "2EF19041", "\r04\r", link))
		default:
			if k := len(args[j]); k > 0 {
				b := []byte(args[j])
				b[r.IntN(k)] ^= 1 << r.IntN(7)
				args[j] = string(b)
			}
		}
		if len(args) == 0 {
			args = []string{"scan"}
		}
	}
	return args
}

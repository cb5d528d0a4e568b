package elm327

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"obdgate/internal/link"
)

// address is a parsed elm: or elm+tcp: URI.
type address struct {
	uri  string
	port string // serial port, or "" for TCP
	baud int    // 0 = to be found
	host string // host:port of a Wi-Fi adapter
}

// DefaultPort is the TCP port that most Wi-Fi adapters listen on.
const DefaultPort = "35000"

// parseURI understands elm:///dev/ttyUSB0?baud=115200, elm:/dev/ttyUSB0, elm:COM5 and elm+tcp://host[:port].
func parseURI(uri string) (address, error) {
	fail := func(why, hint string) (address, error) {
		return address{}, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %s", link.ErrNoAdapter, why), Hint: hint}
	}
	scheme, rest, ok := link.Split(uri)
	rest, query, _ := strings.Cut(rest, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return fail("the part behind ? cannot be read", "write it as ?baud=115200")
	}
	a := address{uri: uri}
	for k := range q {
		if k != "baud" || scheme != "elm" {
			return fail("unknown option "+strconv.Quote(k), "a serial adapter knows baud, a Wi-Fi adapter no option")
		}
	}
	if q.Has("baud") {
		a.baud, err = strconv.Atoi(q.Get("baud"))
		if err != nil || a.baud < 1200 || a.baud > 4_000_000 {
			return fail("no such baud rate", "common ones are 38400, 115200, 9600 and 500000; leave it out to have it found")
		}
	}
	switch {
	case ok && scheme == "elm":
		a.port = strings.TrimPrefix(rest, "//")
		if a.port == "" {
			return fail("no port named", "for example elm:///dev/ttyUSB0 or elm:COM5")
		}
	case ok && scheme == "elm+tcp":
		a.host = strings.TrimSuffix(strings.TrimPrefix(rest, "//"), "/")
		if a.host == "" {
			return fail("no host named", "for example elm+tcp://192.168.0.10:35000")
		}
		if _, _, err := net.SplitHostPort(a.host); err != nil {
			a.host = net.JoinHostPort(strings.Trim(a.host, "[]"), DefaultPort)
		}
	default:
		return fail("not an address of an ELM327", "for example elm:///dev/ttyUSB0 or elm+tcp://192.168.0.10:35000")
	}
	return a, nil
}

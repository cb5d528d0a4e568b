package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// pattern is one expanded match line: the parts of a key, and whether everything below belongs to it too.
type pattern struct {
	parts []part
	deep  bool   // ended in **
	text  string // as expanded, for messages
}

// part is one dot-separated piece of a pattern.
type part struct {
	text string // exact text, or the beginning when open
	open bool   // ended in *: any part that begins with text; "" is *
}

// maxPatterns bounds what one match line may expand to.
const maxPatterns = 4096

// parsePatterns expands the braces of one match line and parses every alternative.
func parsePatterns(line string) ([]pattern, error) {
	texts, err := expand(line)
	if err != nil {
		return nil, fmt.Errorf("match %q: %w", line, err)
	}
	out := make([]pattern, 0, len(texts))
	for _, t := range texts {
		p, err := parsePattern(t)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", line, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func parsePattern(text string) (pattern, error) {
	parts := strings.Split(text, ".")
	p := pattern{text: text, parts: make([]part, 0, len(parts))}
	for i, s := range parts {
		switch {
		case s == "":
			return pattern{}, fmt.Errorf("an empty part in %q", text)
		case s == "**" && i == 0:
			return pattern{}, fmt.Errorf("%q would name every key; name at least the first part", text)
		case s == "**" && i != len(parts)-1:
			return pattern{}, fmt.Errorf("** must be the last part of %q", text)
		case s == "**":
			p.deep = true
		case strings.Count(s, "*") > 1 || strings.Contains(strings.TrimSuffix(s, "*"), "*"):
			return pattern{}, fmt.Errorf("* must end the part in %q", text)
		default:
			b, open := strings.CutSuffix(s, "*")
			if i == 0 && open {
				return pattern{}, fmt.Errorf("the first part of %q must be exact", text)
			}
			if j := strings.IndexFunc(b, notKeyRune); j >= 0 {
				return pattern{}, fmt.Errorf("character %q in %q: keys are letters, digits, _ and -", b[j], text)
			}
			p.parts = append(p.parts, part{b, open})
		}
	}
	return p, nil
}

func notKeyRune(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' || r == '-')
}

// expand resolves {a,b} and {03-0C} from left to right.
func expand(line string) ([]string, error) {
	out := []string{""}
	for line != "" {
		before, rest, found := strings.Cut(line, "{")
		if strings.Contains(before, "}") {
			return nil, fmt.Errorf("a } without {")
		}
		alts := []string{""}
		if found {
			inner, after, closed := strings.Cut(rest, "}")
			if !closed || strings.Contains(inner, "{") {
				return nil, fmt.Errorf("a { that is not closed")
			}
			var err error
			if alts, err = alternatives(inner); err != nil {
				return nil, err
			}
			rest = after
		}
		if len(out)*len(alts) > maxPatterns {
			return nil, fmt.Errorf("more than %d alternatives", maxPatterns)
		}
		next := make([]string, 0, len(out)*len(alts))
		for _, o := range out {
			for _, a := range alts {
				next = append(next, o+before+a)
			}
		}
		out, line = next, rest
	}
	return out, nil
}

func alternatives(inner string) ([]string, error) {
	var out []string
	for s := range strings.SplitSeq(inner, ",") {
		s = strings.TrimSpace(s)
		from, to, isRange := strings.Cut(s, "-")
		if !isRange || !isHex(from) || !isHex(to) {
			if s == "" {
				return nil, fmt.Errorf("an empty alternative in {%s}", inner)
			}
			out = append(out, s)
			continue
		}
		a, errA := strconv.ParseUint(from, 16, 16)
		b, errB := strconv.ParseUint(to, 16, 16)
		if errA != nil || errB != nil || len(from) != len(to) || a > b || b-a >= maxPatterns {
			return nil, fmt.Errorf("range %q: write two hexadecimal numbers of the same length, the smaller first", s)
		}
		for n := a; n <= b; n++ {
			digits := strings.ToUpper(strconv.FormatUint(n, 16))
			out = append(out, strings.Repeat("0", len(from)-len(digits))+digits)
		}
	}
	return out, nil
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789ABCDEF") == ""
}

// in reports whether every text p matches is matched by q.
func (p part) in(q part) bool {
	if q.open {
		return strings.HasPrefix(p.text, q.text)
	}
	return !p.open && p.text == q.text
}

// meets reports whether some text matches both.
func (p part) meets(q part) bool { return p.in(q) || q.in(p) }

// in reports whether every key p matches is matched by q.
func (p pattern) in(q pattern) bool {
	if len(p.parts) < len(q.parts) || !q.deep && (p.deep || len(p.parts) != len(q.parts)) {
		return false
	}
	for i, b := range q.parts {
		if !p.parts[i].in(b) {
			return false
		}
	}
	return true
}

// meets reports whether some key matches both.
func (p pattern) meets(q pattern) bool {
	if len(p.parts) < len(q.parts) && !p.deep || len(q.parts) < len(p.parts) && !q.deep {
		return false
	}
	for i := range min(len(p.parts), len(q.parts)) {
		if !p.parts[i].meets(q.parts[i]) {
			return false
		}
	}
	return true
}

// crosses reports whether the two meet and neither lies inside the other.
func (p pattern) crosses(q pattern) bool { return p.meets(q) && !p.in(q) && !q.in(p) }

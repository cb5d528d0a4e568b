package dbc

import "fmt"

// Error is what is wrong with a DBC file and where. Line and Column count from 1, columns in bytes.
type Error struct {
	File         string
	Line, Column int
	Reason       string
}

func (e *Error) Error() string {
	return fmt.Sprintf("dbc: %s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
}

type tokenKind uint8

const (
	endOfFile tokenKind = iota
	word
	number
	text  // a quoted string; the token's text is without quotes
	punct // one character
)

type token struct {
	kind      tokenKind
	text      string
	line, col int
}

// describe names the token for an error message, without quoting the content of strings.
func (t token) describe() string {
	switch t.kind {
	case endOfFile:
		return "the end of the file"
	case text:
		return "a text"
	}
	return fmt.Sprintf("%q", t.text)
}

// scanner splits a file into tokens. Bytes above 7F are allowed in strings and kept as they are: many files are Latin-1.
type scanner struct {
	file      string
	src       string
	pos       int
	line, bol int // current line, position of its first byte
	ahead     token
	has       bool
}

func newScanner(file string, src []byte) *scanner {
	return &scanner{file: file, src: string(src), line: 1}
}

func (s *scanner) failAt(t token, format string, a ...any) error {
	return &Error{s.file, t.line, t.col, fmt.Sprintf(format, a...)}
}

func (s *scanner) peek() (token, error) {
	if !s.has {
		t, err := s.scan()
		if err != nil {
			return t, err
		}
		s.ahead, s.has = t, true
	}
	return s.ahead, nil
}

func (s *scanner) next() (token, error) {
	t, err := s.peek()
	s.has = false
	return t, err
}

func (s *scanner) scan() (token, error) {
	for s.pos < len(s.src) && s.src[s.pos] <= ' ' {
		s.newline()
		s.pos++
	}
	t := token{line: s.line, col: s.pos - s.bol + 1}
	if s.pos >= len(s.src) {
		return t, nil
	}
	start := s.pos
	c := s.src[s.pos]
	switch {
	case isLetter(c):
		for s.pos < len(s.src) && (isLetter(s.src[s.pos]) || isDigit(s.src[s.pos])) {
			s.pos++
		}
		t.kind = word
	case s.numberAt(s.pos), (c == '-' || c == '+') && s.numberAt(s.pos+1):
		if !isDigit(c) && c != '.' {
			s.pos++
		}
		s.number()
		t.kind = number
	case c == '"':
		return s.quoted(t)
	default:
		s.pos++
		t.kind = punct
	}
	t.text = s.src[start:s.pos]
	return t, nil
}

// number runs to the end of [digits][.digits][e[+-]digits].
func (s *scanner) number() {
	digits := func() {
		for s.digitAt(s.pos) {
			s.pos++
		}
	}
	digits()
	if s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		digits()
	}
	if s.pos < len(s.src) && (s.src[s.pos] == 'e' || s.src[s.pos] == 'E') {
		p := s.pos + 1
		if p < len(s.src) && (s.src[p] == '+' || s.src[p] == '-') {
			p++
		}
		if s.digitAt(p) {
			s.pos = p
			digits()
		}
	}
}

func (s *scanner) quoted(t token) (token, error) {
	s.pos++
	start := s.pos
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case '\\':
			if s.pos+1 < len(s.src) && s.src[s.pos+1] == '"' {
				s.pos++
			}
		case '"':
			t.kind, t.text = text, s.src[start:s.pos]
			s.pos++
			return t, nil
		}
		s.newline()
		s.pos++
	}
	return t, s.failAt(t, "a text is not closed")
}

func (s *scanner) newline() {
	if s.src[s.pos] == '\n' {
		s.line++
		s.bol = s.pos + 1
	}
}

// digitAt reports a digit at i.
func (s *scanner) digitAt(i int) bool { return i < len(s.src) && isDigit(s.src[i]) }

// numberAt reports whether a number begins at i, behind a sign.
func (s *scanner) numberAt(i int) bool {
	return s.digitAt(i) || i < len(s.src) && s.src[i] == '.' && s.digitAt(i+1)
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

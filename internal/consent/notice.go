package consent

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// CurrentNotice is the version of the notices shown today. Older versions stay in the program for as long as decisions
// may name them; a changed word is a new version, which is a new folder.
const CurrentNotice = "2026-12"

// ErrNotice marks a notice that does not exist.
var ErrNotice = errors.New("consent: no such notice")

//go:embed notices
var noticeFiles embed.FS

// Notice is what the customer is told before answering for one purpose, in one language, in plain words. Recipients of the
// register are named by the caller beside Who.
type Notice struct {
	Version  string  `json:"version"`
	Language string  `json:"language"`
	Purpose  Purpose `json:"purpose"`
	Hash     string  `json:"sha256"` // hex, over all texts and terms of this notice
	Text
	Terms Terms `json:"terms"`
}

// Text holds the words.
type Text struct {
	Title    string `json:"title"`
	Question string `json:"question"`
	What     string `json:"what"`
	Why      string `json:"why"`
	Who      string `json:"who"`
	HowLong  string `json:"how_long"`
	No       string `json:"no"` // that no is fine, and what happens then
	Withdraw string `json:"withdraw"`
	Rights   string `json:"rights"`
}

// Terms are the machine-readable side of a purpose, the same in every language: W3C DPV terms, law, data categories.
type Terms struct {
	Purpose    []string `json:"purpose"`
	Basis      string   `json:"basis"`
	Law        string   `json:"law"`
	Categories []string `json:"categories"`
	Rights     []string `json:"rights"`
}

type noticeKey struct{ version, language, purpose string }

// NoticeFor returns the current notice of purpose in language.
func NoticeFor(purpose Purpose, language string) (Notice, error) {
	return NoticeVersion(CurrentNotice, purpose, language)
}

// NoticeVersion returns the notice of purpose in one version; "" is the current one. An empty language reads English: a no
// may be given without a notice having been read.
func NoticeVersion(version string, purpose Purpose, language string) (Notice, error) {
	if version == "" {
		version = CurrentNotice
	}
	if language == "" {
		language = "en"
	}
	all, err := notices()
	if err != nil {
		return Notice{}, err
	}
	kind, third := purpose.kind()
	n, ok := all[noticeKey{version, language, kind}]
	if !ok || !purpose.Valid() {
		return Notice{}, fmt.Errorf("%w: %s %s %s", ErrNotice, version, kind, language)
	}
	n.Purpose = purpose
	if third != "" {
		n.Text = n.Text.with("{name}", third)
	}
	n.Terms = n.Terms.clone()
	return n, nil
}

// Kind is the purpose without the name in it: service, obfcm, quality, third-party or portability.
func (p Purpose) Kind() string {
	k, _ := p.kind()
	return k
}

func (p Purpose) kind() (kind, name string) {
	kind, name, _ = strings.Cut(string(p), ":")
	return kind, name
}

func (t Text) with(old, new string) Text {
	for _, f := range []*string{&t.Title, &t.Question, &t.What, &t.Why, &t.Who, &t.HowLong, &t.No, &t.Withdraw, &t.Rights} {
		*f = strings.ReplaceAll(*f, old, new)
	}
	return t
}

func (t Terms) clone() Terms {
	t.Purpose, t.Categories, t.Rights = slices.Clone(t.Purpose), slices.Clone(t.Categories), slices.Clone(t.Rights)
	return t
}

// notices reads the embedded files once: notices/VERSION/terms.json and one LANGUAGE.json per language, keyed by purpose.
var notices = sync.OnceValues(func() (map[noticeKey]Notice, error) {
	all := map[noticeKey]Notice{}
	versions, err := noticeFiles.ReadDir("notices")
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		terms, err := readNotices[Terms](v.Name(), "terms")
		if err != nil {
			return nil, err
		}
		for _, lang := range Languages {
			texts, err := readNotices[Text](v.Name(), lang)
			if err != nil {
				return nil, err
			}
			for kind, text := range texts {
				n := Notice{Version: v.Name(), Language: lang, Purpose: Purpose(kind), Text: text, Terms: terms[kind]}
				b, err := json.Marshal(n)
				if err != nil {
					return nil, err
				}
				sum := sha256.Sum256(b)
				n.Hash = hex.EncodeToString(sum[:])
				all[noticeKey{v.Name(), lang, kind}] = n
			}
		}
	}
	return all, nil
})

func readNotices[T any](version, name string) (map[string]T, error) {
	b, err := noticeFiles.ReadFile(path.Join("notices", version, name+".json"))
	if err != nil {
		return nil, err
	}
	m := map[string]T{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("consent: notices/%s/%s.json: %w", version, name, err)
	}
	return m, nil
}

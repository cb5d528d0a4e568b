package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// switchDB has a message whose switch is as marked, technical signals below it, one beside it, and a nested switch.
func switchDB(t testing.TB, outer, inner string) *dbc.Database {
	t.Helper()
	src := `VERSION "x"
NS_ :
BS_:
BU_: A
BO_ 256 ONE: 8 A
 SG_ Outer M : 0|8@1+ (1,0) [0|255] "" A
 SG_ First m0 : 8|8@1+ (1,0) [0|255] "" A
 SG_ Second m1 : 16|16@1+ (1,0) [0|255] "" A
 SG_ Beside : 56|8@1+ (1,0) [0|255] "" A
BO_ 257 TWO: 8 A
 SG_ Top M : 0|8@1+ (1,0) [0|255] "" A
 SG_ Middle m1M : 8|8@1+ (1,0) [0|255] "" A
 SG_ Deep m2 : 16|8@1+ (1,0) [0|255] "" A
 SG_ Other m3 : 24|8@1+ (1,0) [0|255] "" A
 SG_ Flat m1 : 32|8@1+ (1,0) [0|255] "" A
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_DEF_ SG_ "PrivacyCategory" STRING;
`
	mark := func(id int, signal, class string) {
		category := "condition"
		if class == "personal" {
			category = "movement"
		}
		src += fmt.Sprintf("BA_ \"PrivacyClass\" SG_ %d %s \"%s\";\nBA_ \"PrivacyCategory\" SG_ %d %s \"%s\";\n", id, signal, class, id, signal, category)
	}
	mark(256, "Outer", outer)
	mark(257, "Top", outer)
	mark(257, "Middle", inner)
	for id, signals := range map[int]string{256: "First Second Beside", 257: "Deep Other Flat"} {
		for _, s := range strings.Fields(signals) {
			mark(id, s, "technical")
		}
	}
	src += "SG_MUL_VAL_ 257 Deep Middle 2-2;\nSG_MUL_VAL_ 257 Other Middle 3-3;\nSG_MUL_VAL_ 257 Flat Top 1-1;\nSG_MUL_VAL_ 257 Middle Top 1-1;\n"
	d, err := dbc.Parse("switch.dbc", []byte(src))
	require.NoError(t, err)
	return d
}

// A switch that nobody may see must not show in which of the other bytes are kept.
func TestHiddenSwitchDoesNotShowInTheMask(t *testing.T) {
	p := defaultPolicy(t)
	for _, c := range []struct{ outer, inner string }{{"personal", "personal"}, {"personal", "technical"}, {"technical", "personal"}} {
		t.Run(c.outer+" "+c.inner, func(t *testing.T) {
			tg := policy.NewTagger(p, switchDB(t, c.outer, c.inner))
			rapid.Check(t, func(t *rapid.T) {
				f := frame.New(uint32(rapid.IntRange(256, 257).Draw(t, "id")), 0, rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "data")...)
				if c.outer == "technical" {
					f.ID = 257
				}
				f.Data[0] = rapid.SampledFrom([]byte{0, 1, 2}).Draw(t, "outer")
				f.Data[1] = rapid.SampledFrom([]byte{2, 3, 4}).Draw(t, "inner")
				ft, ok := tg.Alone(&f)
				require.True(t, ok)
				other := f
				for i := range 8 {
					if ft.Personal>>i&1 == 1 {
						other.Data[i] = rapid.Byte().Draw(t, "other")
					}
				}
				if c.outer == "personal" { // both were drawn from few values
					other.Data[0] = rapid.SampledFrom([]byte{0, 1, 2}).Draw(t, "outer again")
				} else if f.Data[0] == 1 {
					other.Data[1] = rapid.SampledFrom([]byte{2, 3, 4}).Draw(t, "inner again")
				}
				gt, _ := tg.Alone(&other)
				ft.Mask(&f)
				gt.Mask(&other)
				require.Equal(t, f.Data, other.Data)
				require.Equal(t, ft.Tag.Category, gt.Tag.Category)
			})
		})
	}
}

// What a technical switch selects is kept, so that the test above does not pass by masking everything.
func TestShownSwitchKeepsWhatItSelects(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), switchDB(t, "technical", "technical"))
	for _, c := range []struct {
		f    frame.Frame
		want uint64
	}{
		{frame.New(256, 0, 0, 1, 2, 3, 4, 5, 6, 7), 0b01111100},
		{frame.New(256, 0, 1, 1, 2, 3, 4, 5, 6, 7), 0b01110010},
		{frame.New(256, 0, 9, 1, 2, 3, 4, 5, 6, 7), 0b01111110},
		{frame.New(257, 0, 1, 2, 2, 3, 4, 5, 6, 7), 0b11101000},
		{frame.New(257, 0, 1, 3, 2, 3, 4, 5, 6, 7), 0b11100100},
	} {
		ft, ok := tg.Alone(&c.f)
		require.True(t, ok)
		require.Equal(t, c.want, ft.Personal, "%08b", ft.Personal)
	}
}

// What Alone says is what Push says, as long as nothing is held; and it leaves everything of a conversation to Push.
func TestAloneIsPush(t *testing.T) {
	p, db := defaultPolicy(t), database(t)
	alone := policy.NewTagger(p, db)
	rapid.Check(t, func(t *rapid.T) {
		tg := policy.NewTagger(p, db)
		n := 0
		for _, k := range traffic(t) {
			got, ok := alone.Alone(&k.f)
			held := tg.Held()
			tg.Push(&k.f, func(f *frame.Frame, want policy.FrameTag) {
				n++
				if ok && held == 0 {
					require.Equal(t, want, got)
				}
			})
			if ok && held == 0 {
				require.Zero(t, tg.Held())
			}
			if k.f.ID >= 0x7E0 && k.f.ID <= 0x7EF {
				require.False(t, ok)
			}
		}
	})
}

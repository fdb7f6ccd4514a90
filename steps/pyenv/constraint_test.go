package pyenv

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Poetry's own parser (poetry-core 2.5) makes of each.
func TestFromPoetry(t *testing.T) {
	for text, want := range map[string]string{
		"^1.2.3": ">=1.2.3,<2", "^0.2.3": ">=0.2.3,<0.3", "^0.0.3": ">=0.0.3,<0.0.4", "^0.0": ">=0.0,<0.1", "^0": ">=0,<1",
		"^1": ">=1,<2", "^1.2": ">=1.2,<2", "^0.0.0": ">=0.0.0,<0.0.1", "^0.0.0.1": ">=0.0.0.1,<0.0.1", "^1.2.3.4": ">=1.2.3.4,<2",
		"^1.2b1": ">=1.2b1,<2", "^1!2.0": ">=1!2.0,<1!3", "^1.0.post1": ">=1.0.post1,<2", "^1.0+cu118": ">=1.0,<2", "^ 1.2": ">=1.2,<2",
		"~1.2.3": ">=1.2.3,<1.3", "~1.2": ">=1.2,<1.3", "~1": ">=1,<2", "~0.0.1.2": ">=0.0.1.2,<0.1", "~v1.2": ">=1.2,<1.3",
		"1.2.3": "==1.2.3", "=1.2": "==1.2", "1.2.3+cu118": "==1.2.3+cu118", "1.*": "==1.*", "==1.2.*": "==1.2.*", "!=1.2.*": "!=1.2.*", "*": "",
		">=1,<2": ">=1,<2", ">=1 <2": ">=1,<2", "> 1.0": ">1.0", ">=1.0,": ">=1.0", "~=1.2": "~=1.2", "!=1.5": "!=1.5", ">=1.2.*": ">=1.2",
		">=1.0b2,!=1.5,<2": ">=1.0b2,!=1.5,<2", "^1.0 || ^2.0": ">=1.0,<2 | >=2.0,<3", "<2|>3": "<2 | >3", "*,!=1.5": "!=1.5",
	} {
		got, err := fromPoetry(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, strings.Join(got, " | "), text)
	}
	for _, text := range []string{"", "1.2.x", "~1.2.*", "^1.2.*", "latest", ">=1 ||", "1.2-3.4", "<*", "^"} {
		_, err := fromPoetry(text)
		assert.Error(t, err, text)
	}
}

func TestHull(t *testing.T) {
	for want, alternatives := range map[string][]string{
		">=1.0,<3": {">=1.0,<2", ">=2.0,<3"}, ">=0.9,<=1.4": {"==1.2", "==1.4", ">=0.9,<1"}, "": {">=1.0", "<0.5"}, ">=1,<3": {"==2.*", "==1.*"},
		">=1.2.3,<2": {"~=1.4", "~=1.2.3"}, ">=2,!=2.5": {">=2,!=2.5"}, ">1": {">1,<2", ">=3"},
	} {
		assert.Equal(t, want, hull(alternatives), "%q", alternatives)
	}
}

func TestAdmits(t *testing.T) {
	for spec, fits := range map[string]bool{
		"": true, ">=3.8": true, ">=3.11": true, ">=3.11.8": false, "<3.12,>=3.9": true, "<3.11": false, "==3.11.*": true, "==3.1.*": false,
		"!=3.11.*": false, "~=3.8": true, "~=3.11.2": true, "~=3.12": false, "==3.11.7": true, "==3.11": false, ">3.11": true, "<=3.11": false,
		">=3.8.*": true, ">=3.10, <4": true, "===3.11.7": true, ">=2.7,!=3.0.*,!=3.1.*": true, ">=3.12.0rc1": false,
	} {
		got, err := admits([]string{spec}, "3.11.7")
		require.NoError(t, err, spec)
		assert.Equal(t, fits, got, spec)
	}
	got, err := admits([]string{"<3", ">=3.14"}, "3.14.0rc2")
	require.NoError(t, err)
	assert.True(t, got)
	_, err = admits([]string{"python3"}, "3.11.7")
	assert.Error(t, err)
}

func FuzzFromPoetry(f *testing.F) {
	for _, text := range []string{"^1.2", "~1!0.3b1", "1.* || >=2 <3,!=2.5", "*"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		alternatives, err := fromPoetry(text)
		if err != nil {
			return
		}
		hull(alternatives)
		for _, a := range alternatives {
			for _, spec := range strings.Split(a, ",") {
				require.NotContains(t, spec, "^")
				require.NotContains(t, spec, " ")
			}
		}
	})
}

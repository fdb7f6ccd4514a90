package notebook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/steps/notebook/nbtest"
)

func TestReadPage(t *testing.T) {
	p, err := ReadPage(strings.NewReader(`<html><div class="a jp-CodeCell"></div><div class="jp-CodeCellX"></div>
		<script src="//cdn.example/x.js"></script><script>1</script><script type="application/json">{}</script>
		<link href=https://cdn.example/y.css><a href="https://example.org">no load</a><img src="data:,"><img src="HTTPS://cdn.example/z.png"><img src="HTTPS://cdn.example/z.png">
		</html>
	`))
	require.NoError(t, err)
	assert.Equal(t, Page{Cells: 1, Scripts: 2, External: []string{"//cdn.example/x.js", "https://cdn.example/y.css", "HTTPS://cdn.example/z.png"}}, p)
	for _, bad := range []string{"", "<html>", "<html></html", "<html></html>x", "<html></html><p>"} {
		_, err := ReadPage(strings.NewReader(bad))
		require.Error(t, err, bad)
	}
}

func TestHasMath(t *testing.T) {
	for source, want := range map[string]bool{
		"costs $5 and $ 6": false, "$x^2$": true, "a $$ b": true, `\(x\)`: true, `\begin{align}`: true, "plain": false,
	} {
		n, err := Parse(nbtest.New(nbtest.Text(source), nbtest.Code("x = '$a$'")))
		require.NoError(t, err)
		assert.Equal(t, want, n.HasMath(), source)
	}
}

func TestWriteTemplate(t *testing.T) {
	for _, scripts := range []bool{false, true} {
		dir := t.TempDir()
		require.NoError(t, WriteTemplate(dir, scripts, "LITE: 5 of 9 cells & no more"))
		b, err := os.ReadFile(filepath.Join(dir, TemplateName, "index.html.j2"))
		require.NoError(t, err)
		assert.Contains(t, string(b), "default-src 'none'")
		assert.Equal(t, scripts, strings.Contains(string(b), "script-src"))
		assert.Contains(t, string(b), ">LITE: 5 of 9 cells &amp; no more</div>")
		assert.FileExists(t, filepath.Join(dir, TemplateName, "conf.json"))
	}
}

func FuzzReadPage(f *testing.F) {
	f.Add([]byte(`<html><div class="jp-CodeCell"><script src=//x></script></html>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ReadPage(strings.NewReader(string(data))); err == nil {
			require.Contains(t, strings.ToLower(string(data)), "</html")
		}
	})
}

package junit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// full is what pytest writes, with everything that go-junit loses in it.
const full = `<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="3" skipped="2" tests="7" time="3.250" timestamp="2026-11-23T10:00:00+00:00" hostname="node-1">
<properties><property name="ARCH" value="x86 &amp; more"/></properties>
<testcase classname="tests.test_a" name="test_ok" file="tests/test_a.py" line="3" time="0.5"><properties><property name="cells" value="12 &lt; 20"/><property name="odd name" value=""/></properties><system-out>noise</system-out></testcase>
<testcase classname="tests.test_a" name="test_both" time="0.1"><failure message="assert 1 == 2" type="AssertionError">E   assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_both" time="0.3"><error message="failed on teardown with &quot;boom&quot;">RuntimeError: boom</error></testcase>
<testcase classname="tests.test_a" name="test_sub" time="0.1"><failure message="first"/><failure message="second"/></testcase>
<testcase classname="tests.test_a" name="test_xfail" time="0.1"><skipped type="pytest.xfail" message="known"/></testcase>
<testcase classname="tests.test_a" name="test_skip" time="0.1"><skipped type="pytest.skip" message="no GPU">tests/test_a.py:9: no GPU</skipped></testcase>
<testcase classname="tests.test_a" name="test_xpass" time="0.1"><failure message="[XPASS(strict)] known"/></testcase>
</testsuite></testsuites>`

func read(t *testing.T, text string) Report {
	t.Helper()
	rep, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	return rep
}

func TestReadKeepsWhatGoJUnitLoses(t *testing.T) {
	rep := read(t, full)
	require.Len(t, rep.Suites, 1)
	assert.Equal(t, Suite{
		Name: "pytest", Timestamp: "2026-11-23T10:00:00+00:00", Hostname: "node-1", Seconds: 3.25, Failed: 4,
		Properties: map[string]string{"ARCH": "x86 & more"},
	}, rep.Suites[0])
	require.Len(t, rep.Tests, 6)
	assert.Equal(t, Test{
		Name: "test_ok", Classname: "tests.test_a", File: "tests/test_a.py", Seconds: 0.5,
		Properties: map[string]string{"cells": "12 < 20", "odd name": ""},
	}, rep.Tests[0])
	assert.Equal(t, []Outcome{
		{Failure, "AssertionError", "assert 1 == 2", "E   assert 1 == 2"},
		{Error, "", `failed on teardown with "boom"`, "RuntimeError: boom"},
	}, rep.Tests[1].Outcomes, "a failure and a teardown error are one test")
	assert.Equal(t, 0.3, rep.Tests[1].Seconds)
	assert.Equal(t, []Outcome{{Failure, "", "first", ""}, {Failure, "", "second", ""}}, rep.Tests[2].Outcomes)
	assert.Equal(t, []Outcome{{Kind: XFailed, Type: "pytest.xfail", Message: "known"}}, rep.Tests[3].Outcomes)
	assert.Equal(t, []Outcome{{Skipped, "pytest.skip", "no GPU", "tests/test_a.py:9: no GPU"}}, rep.Tests[4].Outcomes)
	assert.Equal(t, Counts{Tests: 6, Passed: 1, Failures: 3, Errors: 1, Skipped: 1, XFailed: 1, Declared: 4, Seconds: 3.25}, rep.Counts())
}

func TestSameNameTwiceIsTwoTestsUnlessATeardown(t *testing.T) {
	c := read(t, `<testsuite>
<testcase name="a"/><testcase name="a"/>
<testcase name="b"><error message="1"/></testcase><testcase name="b"><error message="2"/></testcase>
<testcase name="c"><failure/></testcase><testcase name="c"><failure/></testcase>
<testcase name="d"><failure/><error/></testcase>
</testsuite>`).Counts()
	assert.Equal(t, Counts{Tests: 7, Passed: 2, Failures: 3, Errors: 3}, c)
}

// What pytest writes when a test calls pytest.exit.
// As pytest-rerunfailures writes them: the suite counts a test once.
func TestAttemptsAreNotTests(t *testing.T) {
	const cases = `<testcase classname="a" name="flaky" time="0.1"/><testcase classname="a" name="flaky" time="0.2"/><testcase classname="a" name="b"/>` +
		`<testcase classname="a" name="never"/><testcase classname="a" name="never"><skipped message="gave up"/></testcase>`
	rep := read(t, `<testsuites><testsuite tests="3">`+cases+`</testsuite></testsuites>`)
	c := rep.Counts()
	assert.Equal(t, []int{3, 2, 1, 2}, []int{c.Tests, c.Passed, c.Skipped, len(rep.Retried)})
	assert.Equal(t, "flaky", rep.Retried[0].Name)
	for _, tests := range []string{"5", "", "0"} {
		rep := read(t, `<testsuites><testsuite tests="`+tests+`">`+cases+`</testsuite></testsuites>`)
		assert.Equal(t, 5, rep.Counts().Tests, tests)
		assert.Empty(t, rep.Retried)
	}
}

func TestUnfinishedIsNotPassed(t *testing.T) {
	rep := read(t, `<testsuite><testcase classname="m" name="a"/><testcase time="0.000"/></testsuite>`)
	assert.Equal(t, Counts{Tests: 1, Passed: 1, Unfinished: 1}, rep.Counts())
	c := read(t, `<testsuite><testcase time="0.1"><error message="boom"/></testcase></testsuite>`).Counts()
	assert.Equal(t, 1, c.Errors, "a failure counts under any name")
}

func TestNestedAndSeveralSuites(t *testing.T) {
	rep := read(t, `<testsuites><testsuite name="outer" time="1"><testsuite name="inner" time="2"><properties><property name="p" value="v"/></properties><testcase name="a"/></testsuite><testcase name="b"/></testsuite><testsuite name="next"/></testsuites>`)
	names := []string{}
	for _, s := range rep.Suites {
		names = append(names, s.Name)
	}
	assert.Equal(t, []string{"outer", "inner", "next"}, names)
	assert.Equal(t, 2, rep.Counts().Tests)
	assert.Equal(t, "v", rep.Suites[1].Properties["p"])
}

func TestTextThatEncodingXMLRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"control characters":      "<testsuite><testcase name=\"a\x00\x1b\x0b\"><failure>\x1b[31mred\x07</failure></testcase></testsuite>",
		"invalid UTF-8":           "<testsuite><testcase name=\"a\xff\xc3\x28\"/></testsuite>",
		"XML 1.1":                 "<?xml version=\"1.1\" encoding=\"UTF-8\"?><testsuite><testcase name=\"a\"/></testsuite>",
		"references":              `<testsuite><testcase name="a&#27;&#x1B;&#xFFFE;&#55296;&#99999999999;"/></testsuite>`,
		"byte order mark":         "\xef\xbb\xbf<testsuite><testcase name=\"a\"/></testsuite>",
		"latin-1":                 "<?xml version='1.0' encoding='ISO-8859-1'?><testsuite><testcase name=\"a\xe9\"/></testsuite>",
		"UTF-16":                  "\xff\xfe" + strings.ReplaceAll(`<?xml version="1.0" encoding="UTF-16"?><testsuite><testcase name="a"/></testsuite>`, "", "\x00")[1:],
		"CDATA":                   "<testsuite><testcase name='a'><failure><![CDATA[<b> &#27; ]]]]><![CDATA[> \x01]]></failure></testcase></testsuite>",
		"document type and notes": "<!DOCTYPE testsuite><!-- note --><?pi x?><testsuite><testcase name='a'/></testsuite>",
	} {
		t.Run(name, func(t *testing.T) {
			rep := read(t, text)
			require.Len(t, rep.Tests, 1)
			assert.True(t, strings.HasPrefix(rep.Tests[0].Name, "a"))
			assert.True(t, utf8.ValidString(rep.Tests[0].Name))
		})
	}
	latin := read(t, "<?xml version='1.0' encoding='latin1'?><testsuite><testcase name=\"\xe9\"/></testsuite>")
	assert.Equal(t, "é", latin.Tests[0].Name)
	cdata := read(t, "<testsuite><testcase><failure>a <![CDATA[<b> &amp; ]]>&lt;c&gt;</failure> after </testcase></testsuite>")
	assert.Equal(t, "a <b> &amp; <c>", cdata.Tests[0].Outcomes[0].Text)
}

func TestWhatIsNoReport(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"blank":            " \n ",
		"no suite":         "<testsuites/>",
		"another document": "<coverage line-rate=\"1\"/>",
		"loose testcases":  "<testcase name=\"a\"/>",
	} {
		_, err := Read(strings.NewReader(text))
		assert.ErrorIs(t, err, ErrNoSuites, name)
	}
	for name, text := range map[string]string{
		"cut off":            full[:len(full)/2],
		"cut before its end": strings.TrimSuffix(full, "</testsuites>"),
		"not XML":            "Traceback (most recent call last): <boom",
		"other encoding":     "<?xml version='1.0' encoding='EBCDIC-US'?><testsuite/>",
		"too deep":           strings.Repeat("<testsuite>", 40) + strings.Repeat("</testsuite>", 40),
	} {
		_, err := Read(strings.NewReader(text))
		assert.Error(t, err, name)
	}
}

func TestReportIsBounded(t *testing.T) {
	_, err := Read(endless{})
	assert.ErrorContains(t, err, "longer than")
	long := read(t, "<testsuite><testcase><failure message=\""+strings.Repeat("é", maxText)+"\">"+strings.Repeat("x<i/>", maxText)+"</failure></testcase></testsuite>")
	o := long.Tests[0].Outcomes[0]
	assert.LessOrEqual(t, len(o.Message), maxText)
	assert.LessOrEqual(t, len(o.Text), maxText)
	assert.True(t, utf8.ValidString(o.Message))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

func TestSeconds(t *testing.T) {
	for text, want := range map[string]float64{
		"1.5": 1.5, "0": 0, "": 0, "1,234.5": 1234.5, "00:00:01.5": 1.5, "01:02:03": 3723, "1m30s": 90, "2.5s": 2.5,
		"NaN": 0, "inf": 0, "-Inf": 0, "-3": 0, "1e300": 0, "1:NaN": 0, "soon": 0, " 2 ": 2,
	} {
		assert.InDelta(t, want, seconds(text), 1e-9, "%q", text)
	}
	c := read(t, `<testsuite time="NaN"><testcase name="a" time="00:00:01.5"/><testcase name="b" time="NaN"/><testcase name="c" time="0.25"/></testsuite>`).Counts()
	assert.InDelta(t, 1.75, c.Seconds, 1e-9, "a suite without a time has that of its tests")
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.xml")
	_, err := ReadFile(path)
	assert.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte(full), 0o600))
	rep, err := ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, rep.Tests, 6)
}

func TestCoverage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coverage.xml")
	for text, want := range map[string]float64{
		`<?xml version="1.0" ?><!-- x --><coverage lines-valid="40" lines-covered="30" line-rate="0.75"><packages/></coverage>`: 75,
		`<coverage lines-valid="3" lines-covered="0" line-rate="0"/>`:                                                           0,
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := Coverage(path)
		require.NoError(t, err)
		assert.InDelta(t, want, *got, 1e-9)
	}
	require.NoError(t, os.WriteFile(path, []byte(`<coverage lines-valid="0" lines-covered="0" line-rate="1"/>`), 0o600))
	got, err := Coverage(path)
	require.NoError(t, err)
	assert.Nil(t, got, "nothing to cover is not 100 %%")
	for _, text := range []string{"", "<testsuite/>", `<coverage line-rate="1"/>`, `<coverage lines-valid="3" lines-covered="4"/>`, `<coverage lines-valid="3" lines-covered="2">`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Coverage(path)
		assert.Error(t, err, text)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("<testsuite time='NaN'><testcase time='1:2:3'><failure/><error/><skipped/></testcase></testsuite>"))
	f.Add([]byte("\xff\xfe<\x00"))
	f.Add([]byte("<?xml version=\"1.1\"?><testsuites><testsuite><properties><property/></properties></testsuite></testsuites>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rep, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		c := rep.Counts()
		require.Equal(t, len(rep.Tests), c.Tests)
		require.LessOrEqual(t, c.Passed+c.Skipped+c.XFailed, c.Tests)
		require.GreaterOrEqual(t, c.Passed+c.Skipped+c.XFailed+c.Failures+c.Errors, c.Tests)
		require.False(t, c.Seconds < 0 || c.Seconds != c.Seconds)
		for _, test := range rep.Tests {
			require.True(t, utf8.ValidString(test.Name+test.Classname))
			for _, o := range test.Outcomes {
				require.Contains(t, []string{Failure, Error, Skipped, XFailed}, o.Kind)
			}
		}
	})
}

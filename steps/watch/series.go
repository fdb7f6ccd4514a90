// Package watch gathers what a notebook does to the GPUs and to memory, in bounded
// memory, and says what each cell had to do with it.
package watch

import (
	"slices"
	"sort"
)

// series holds a number's course in bounded memory: when it is full, two points
// become one, the larger of them, and new values are taken in groups of that size.
// Peaks keep their height and their time. One that is thinned keeps every second
// value instead, so that its mean stays true.
type series struct {
	thinned bool
	points  []point
	// stride is how many values a point stands for, pending those of the next one.
	stride  int
	pending point
	n       int
}

// point is a value and the moment, in milliseconds, when it was seen.
type point struct {
	at    int64
	value uint64
}

// mostPoints is about 55 minutes at ten samples a second, and 512 KiB.
const mostPoints = 1 << 15

func (s *series) add(at int64, value uint64) {
	if s.stride == 0 {
		s.stride = 1
	}
	if s.n == 0 || s.thinned || value > s.pending.value {
		s.pending = point{at, value}
	}
	if s.n++; s.n < s.stride {
		return
	}
	s.points = append(s.points, s.pending)
	s.n = 0
	if len(s.points) == mostPoints {
		s.halve()
	}
}

func (s *series) halve() {
	half := s.points[:0]
	for i := 0; i+1 < len(s.points); i += 2 {
		p := s.points[i+1]
		if !s.thinned && s.points[i].value > p.value {
			p = s.points[i]
		}
		half = append(half, p)
	}
	s.points = half
	s.stride *= 2
}

// within are the points from one moment to another, both included.
func (s *series) within(from, to int64) []point {
	all := s.points
	if s.n > 0 {
		all = append(slices.Clip(all), s.pending)
	}
	a := sort.Search(len(all), func(i int) bool { return all[i].at >= from })
	b := sort.Search(len(all), func(i int) bool { return all[i].at > to })
	return all[a:max(a, b)]
}

// peak is the highest value of a time; nil when none was seen.
func (s *series) peak(from, to int64) *uint64 {
	var most *uint64
	for _, p := range s.within(from, to) {
		if most == nil || p.value > *most {
			most = &p.value
		}
	}
	return most
}

// mean is that of the values of a time; nil when none was seen. It is for series
// that are thinned.
func (s *series) mean(from, to int64) *float64 {
	var m mean
	for _, p := range s.within(from, to) {
		m.add(float64(p.value))
	}
	return m.value()
}

// mean adds values up without keeping them.
type mean struct {
	sum  float64
	n    int
	most float64
}

func (m *mean) add(v float64) {
	m.sum += v
	m.n++
	m.most = max(m.most, v)
}

func (m *mean) value() *float64 {
	if m.n == 0 {
		return nil
	}
	v := m.sum / float64(m.n)
	return &v
}

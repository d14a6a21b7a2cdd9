package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// copyQuiet spares a short copy the line.
	copyQuiet = 500 * time.Millisecond
	copyTick  = 200 * time.Millisecond
	// eraseLine ends the line of progress (ECMA-48: CR, EL).
	eraseLine = "\r\x1b[K"
)

// showProgress keeps one line on the terminal until what it returns is called.
func (c *copying) showProgress() (stop func()) {
	done := make(chan struct{})
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTimer(copyQuiet)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-tick.C:
				shown = true
				_, _ = io.WriteString(c.a.stderr, eraseLine+c.progress(time.Since(begin)))
				tick.Reset(copyTick)
			case <-done:
				if shown {
					_, _ = io.WriteString(c.a.stderr, eraseLine)
				}
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

func (c *copying) progress(took time.Duration) string {
	bytes, n := c.count.Bytes.Load(), c.count.Files.Load()
	line := humanBytes(float64(bytes))
	if n > 0 {
		line += fmt.Sprintf(", %d files", n)
	}
	return line + fmt.Sprintf(", %s/s", humanBytes(float64(bytes)/took.Seconds()))
}

// humanBytes is a number of bytes to three digits.
func humanBytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if n < 10 && i > 0 {
		return fmt.Sprintf("%.1f %s", n, units[i])
	}
	return fmt.Sprintf("%.0f %s", n, units[i])
}

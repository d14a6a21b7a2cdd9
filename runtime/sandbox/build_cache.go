package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cove/runtime/store"
)

// keepSteps is for how long what a step made is kept for the next build that has the
// same step on the same ground, since it was last used.
const keepSteps = 14 * 24 * time.Hour

// builds are the layers of steps that were done, by what went into them.
type builds struct {
	dir string
	now func() time.Time

	mu    sync.Mutex
	byKey map[string]doneStep
}

// doneStep is a step that was done: Layer is empty where it changed nothing.
type doneStep struct {
	Layer string    `json:"layer"`
	Used  time.Time `json:"used"`
}

func openBuilds(dir string, now func() time.Time) (*builds, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, noSpace(fmt.Errorf("open the builds: %w", err))
	}
	c := &builds{dir: dir, now: now, byKey: map[string]doneStep{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the builds: %w", err)
	}
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		var s doneStep
		path := filepath.Join(dir, e.Name())
		if err := store.ReadJSON(path, maxRecord, &s); err != nil || now().Sub(s.Used) > keepSteps {
			_ = os.Remove(path) // it is done again
			continue
		}
		c.byKey[key] = s
	}
	return c, nil
}

// find gives the layer of a step; the caller pins it.
func (c *builds) find(key string) (layer string, ok bool) {
	c.mu.Lock()
	s, ok := c.byKey[key]
	c.mu.Unlock()
	if ok && c.now().Sub(s.Used) > time.Hour {
		_ = c.add(key, s.Layer) // it is used
	}
	return s.Layer, ok
}

// add keeps the layer of a step. One that is lost is made again, so that nothing is
// synced.
func (c *builds) add(key, layer string) error {
	s := doneStep{Layer: layer, Used: c.now().UTC()}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keep a step: %w", err)
	}
	if err := store.Replace(c.dir, key+".json", data, false); err != nil {
		return noSpace(fmt.Errorf("keep a step: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey[key] = s
	return nil
}

// clear forgets all steps.
func (c *builds) clear() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for key := range c.byKey {
		if err := os.Remove(filepath.Join(c.dir, key+".json")); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		delete(c.byKey, key)
	}
	return errors.Join(errs...)
}

// layers are those of all steps.
func (c *builds) layers(use func([]string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.byKey {
		use([]string{s.Layer})
	}
}

// A Go program that keeps memory by way of several functions, and writes its own heap profile to the file that it is told.
package main

import (
	"bufio"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
)

type page struct {
	next *page
	body [4096]byte
}

type cache struct{ entries map[int][]byte }

var (
	pages   *page
	buffers [][]byte
	words   []*[3]uint64
	shared  = cache{entries: map[int][]byte{}}
)

// Small enough to be inlined into its callers.
func buffer(size int) []byte { return make([]byte, size) }

//go:noinline
func keepBuffers(count, size int) {
	for ; count > 0; count-- {
		buffers = append(buffers, buffer(size))
	}
}

//go:noinline
func keepPages(count int) {
	for ; count > 0; count-- {
		pages = &page{next: pages}
	}
}

//go:noinline
func keepWords(count int) {
	for ; count > 0; count-- {
		words = append(words, &[3]uint64{1, 2, 3})
	}
}

//go:noinline
func (c *cache) fill(count int) {
	add := func(key int) { c.entries[key] = buffer(1000 + key%100) }
	for key := 0; key < count; key++ {
		add(key)
	}
}

//go:noinline
func deep(depth, size int) {
	if depth > 0 {
		deep(depth-1, size)
		return
	}
	keepBuffers(20, size)
}

//go:noinline
func forgets(count int) (sum int) {
	for ; count > 0; count-- {
		block := make([]byte, 10000+count%10)
		sum += len(strings.Repeat("x", 100)) + len(block)
	}
	return
}

func main() {
	runtime.MemProfileRate = 16 << 10
	keepBuffers(2000, 3000)
	keepPages(1000)
	keepWords(100000)
	shared.fill(3000)
	deep(6, 70000)
	done := make(chan int)
	go func() { done <- forgets(2000) }()
	<-done
	runtime.GC()
	runtime.GC()
	os.Stdout.WriteString("ready\n")
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		file, err := os.Create(input.Text())
		if err == nil {
			err = pprof.Lookup("heap").WriteTo(file, 0)
		}
		if err != nil {
			panic(err)
		}
		file.Close()
		os.Stdout.WriteString("done\n")
	}
	runtime.KeepAlive(words)
}

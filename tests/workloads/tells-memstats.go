// A Go program that keeps memory and goroutines as the lines on its standard input say, and tells what its own runtime counts.
//
//	keep MIB        keeps so much in objects of 1000 bytes
//	large MIB       keeps so much in objects of a mebibyte
//	drop            forgets all of it
//	collect         runs the collector
//	release         gives idle memory back to the kernel
//	park N          starts goroutines that wait on a channel
//	leak N          starts so many goroutines a second that wait on a channel, from now on
//	gather MIB      keeps so much a second, from now on
//	sleep N         starts goroutines that sleep
//	percent N       sets GOGC
//	limit MIB       sets GOMEMLIMIT
//	stats           prints runtime.ReadMemStats and the number of goroutines
//
// Reading a line and telling the figures allocates nothing, so that they are still right when somebody else looks.
package main

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

var (
	kept   [][]byte
	never  = make(chan struct{})
	told   runtime.MemStats
	answer = make([]byte, 0, 4096)
)

func parks() { <-never }

func leaks(each time.Duration) {
	for range time.Tick(each) {
		go parks()
	}
}

func gathers(mib int) {
	for range time.Tick(time.Second / 10) {
		keep(mib<<20/10, 1000)
	}
}

func sleeps() { time.Sleep(time.Hour) }

func keep(bytes, size int) {
	for ; bytes > 0; bytes -= size {
		kept = append(kept, make([]byte, size))
	}
}

func figure(name string, value uint64) {
	answer = append(append(append(answer, '"'), name...), '"', ':')
	answer = append(strconv.AppendUint(answer, value, 10), ',')
}

func stats() {
	runtime.ReadMemStats(&told)
	answer = append(answer[:0], '{')
	figure("HeapAlloc", told.HeapAlloc)
	figure("HeapObjects", told.HeapObjects)
	figure("TotalAlloc", told.TotalAlloc)
	figure("Mallocs", told.Mallocs)
	figure("Frees", told.Frees)
	figure("HeapInuse", told.HeapInuse)
	figure("HeapIdle", told.HeapIdle)
	figure("HeapReleased", told.HeapReleased)
	figure("StackInuse", told.StackInuse)
	figure("StackSys", told.StackSys)
	figure("Sys", told.Sys)
	figure("NumGC", uint64(told.NumGC))
	figure("NumForcedGC", uint64(told.NumForcedGC))
	figure("PauseTotalNs", told.PauseTotalNs)
	figure("LastGC", told.LastGC)
	figure("NextGC", told.NextGC)
	figure("GCCPUFractionPpb", uint64(told.GCCPUFraction*1e9))
	figure("NumGoroutine", uint64(runtime.NumGoroutine()))
	answer[len(answer)-1] = '}'
	os.Stdout.Write(append(answer, '\n'))
}

func main() {
	input := bufio.NewReader(os.Stdin)
	os.Stdout.WriteString("ready\n")
	for {
		line, err := input.ReadSlice('\n')
		if err != nil {
			return
		}
		word, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		amount := 0
		for _, digit := range rest {
			amount = amount*10 + int(digit-'0')
		}
		switch string(word) {
		case "stats":
			stats()
			continue
		case "keep":
			keep(amount<<20, 1000)
		case "large":
			keep(amount<<20, 1<<20)
		case "drop":
			kept = nil
		case "collect":
			runtime.GC()
		case "release":
			debug.FreeOSMemory()
		case "park":
			for ; amount > 0; amount-- {
				go parks()
			}
		case "leak":
			go leaks(time.Second / time.Duration(amount))
		case "gather":
			go gathers(amount)
		case "sleep":
			for ; amount > 0; amount-- {
				go sleeps()
			}
		case "percent":
			debug.SetGCPercent(amount)
		case "limit":
			debug.SetMemoryLimit(int64(amount) << 20)
		}
		os.Stdout.WriteString("done\n")
	}
}

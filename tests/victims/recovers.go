// A Go program that recovers from 1000 nil dereferences: the Go runtime turns SIGSEGV into a panic.
// It then prints READY and reads its standard input, like the victims in C.
package main

import (
	"bufio"
	"fmt"
	"os"
)

type node struct {
	before [24]byte
	value  int
}

//go:noinline
func dereference(n *node) int { return n.value }

func recovered() (yes bool) {
	defer func() { yes = recover() != nil }()
	dereference(nil)
	return
}

func main() {
	handled := 0
	for handled < 1000 {
		if !recovered() {
			fmt.Fprintln(os.Stderr, "a nil dereference went through")
			os.Exit(99)
		}
		handled++
	}
	ready := fmt.Sprintf("READY {\"pid\":%d,\"handled\":%d}\n", os.Getpid(), handled)
	if file := os.Getenv("VICTIM_TESTIMONY"); file != "" {
		if err := os.WriteFile(file, []byte(ready), 0o644); err != nil {
			panic(err)
		}
	} else {
		fmt.Print(ready)
	}
	pongs := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		pongs++
		fmt.Printf("pong %d\n", pongs)
	}
}

// What a Go program sees of a clock that waits move.
package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

func main() {
	begin := time.Now()
	fmt.Println(begin.UTC())
	for i := 0; i < 2; i++ {
		time.Sleep(200 * time.Millisecond)
		fmt.Println(time.Now().UnixMilli(), time.Since(begin) >= time.Duration(i+1)*200*time.Millisecond)
	}
	<-time.After(60 * time.Millisecond)
	limit, cancel := context.WithTimeout(context.Background(), 70*time.Millisecond)
	defer cancel()
	<-limit.Done()
	fmt.Println(limit.Err())
	ticker := time.NewTicker(20 * time.Millisecond)
	for i := 0; i < 3; i++ {
		<-ticker.C
	}
	fired := make(chan bool)
	time.AfterFunc(30*time.Millisecond, func() { fired <- true })
	fmt.Println(<-fired)
	date, err := exec.Command("date", "+%s").Output()
	fmt.Print(string(date), err, "\n")
	spin := time.Now()
	for time.Since(spin) < time.Second {
	}
	fmt.Println("spun")
}

// Writes the table of proxy decisions that proxy.test.ts compares ours with. Each row has an
// environment, a URL to be reached, and the proxy that Go takes for it or null.
//
//	go run . >../proxy-table.json
package main

import (
	"encoding/json"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"
)

type row struct {
	Environment map[string]string
	Target      string
	Proxy       *string
}

var variables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

func main() {
	rows := []row{}
	for _, one := range cases() {
		for _, name := range variables {
			os.Setenv(name, one.Environment[name])
		}
		target, err := url.Parse(one.Target)
		if err != nil {
			panic(err)
		}
		proxy, err := httpproxy.FromEnvironment().ProxyFunc()(target)
		if err != nil {
			panic(err)
		}
		if proxy != nil {
			text := proxy.String()
			one.Proxy = &text
		}
		rows = append(rows, one)
	}
	os.Stdout.WriteString("[\n")
	for i, one := range rows {
		line, err := json.Marshal([]any{one.Environment, one.Target, one.Proxy})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString("  " + string(line))
		if i < len(rows)-1 {
			os.Stdout.WriteString(",")
		}
		os.Stdout.WriteString("\n")
	}
	os.Stdout.WriteString("]\n")
}

type env = map[string]string

const plain = "http://p:1"
const secure = "http://s:2"

func cases() []row {
	rows := []row{}
	add := func(environment env, targets ...string) {
		for _, target := range targets {
			rows = append(rows, row{Environment: environment, Target: target})
		}
	}
	// Which variable is for what.
	add(env{}, "http://a.example/", "https://a.example/")
	add(env{"HTTP_PROXY": plain, "HTTPS_PROXY": secure}, "http://a.example/", "https://a.example/", "http://10.0.0.1:8080/", "https://[fd00::1]:5000/")
	add(env{"HTTP_PROXY": plain}, "http://a.example/", "https://a.example/")
	add(env{"HTTPS_PROXY": secure}, "http://a.example/", "https://a.example/")
	add(env{"http_proxy": plain, "https_proxy": secure}, "http://a.example/", "https://a.example/")
	add(env{"HTTP_PROXY": plain, "http_proxy": secure}, "http://a.example/")
	add(env{"HTTPS_PROXY": secure, "https_proxy": plain}, "https://a.example/")
	add(env{"HTTP_PROXY": plain, "NO_PROXY": "b.example", "no_proxy": "a.example"}, "http://a.example/", "http://b.example/")
	add(env{"HTTP_PROXY": plain, "no_proxy": "a.example"}, "http://a.example/")
	// How a proxy is written.
	for _, proxy := range []string{"192.168.0.1:3218", "192.168.0.1", "proxy:3128", "proxy", "proxy.example:3128/", "[fd00::1]:3128", "user:secret@proxy:3128", "http://user:se%40cret@proxy:3128", "https://proxy.example", "HTTP://Proxy.Example:3128", "http://proxy:80"} {
		add(env{"HTTP_PROXY": proxy}, "http://a.example/")
	}
	// Loopback.
	both := func(noProxy string) env {
		return env{"HTTP_PROXY": plain, "HTTPS_PROXY": secure, "NO_PROXY": noProxy}
	}
	add(both(""), "http://localhost/", "https://localhost:42113/", "http://127.0.0.1/", "http://127.1.2.3:8080/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://128.0.0.1/", "http://[::2]/", "http://localhost.example/", "http://a.localhost/")
	// Everything.
	add(both("*"), "http://a.example/", "https://10.0.0.1/", "http://[fd00::1]/")
	add(both("b.example,*"), "http://a.example/")
	add(both(" * "), "http://a.example/")
	// Names.
	add(both("a.example"), "http://a.example/", "http://A.Example/", "http://b.a.example/", "http://c.b.a.example/", "http://ba.example/", "http://example/", "https://a.example:8443/")
	add(both(".a.example"), "http://a.example/", "http://b.a.example/", "http://ba.example/")
	add(both("*.a.example"), "http://a.example/", "http://b.a.example/", "http://ba.example/")
	add(both("A.EXAMPLE"), "http://a.example/")
	add(both("example"), "http://a.example/", "http://example/", "http://anexample/")
	add(both("a.example:8080"), "http://a.example:8080/", "http://a.example/", "http://b.a.example:8080/", "http://a.example:8081/")
	add(both(".a.example:443"), "https://b.a.example/", "https://b.a.example:444/")
	add(both("a.example:80"), "http://a.example/", "https://a.example/")
	add(both("bücher.example"), "http://bücher.example/", "http://www.xn--bcher-kva.example/")
	// Addresses and networks.
	add(both("10.0.0.1"), "http://10.0.0.1/", "http://10.0.0.1:8080/", "http://10.0.0.10/", "http://110.0.0.1/")
	add(both("10.0.0.1:8080"), "http://10.0.0.1:8080/", "http://10.0.0.1/")
	add(both("10.0.0.0/8"), "http://10.1.2.3/", "https://10.255.0.1:5000/", "http://11.0.0.1/", "http://ten.example/")
	add(both("10.1.2.3/8"), "http://10.200.0.1/")
	add(both("192.168.1.0/25"), "http://192.168.1.127/", "http://192.168.1.128/")
	add(both("0.0.0.0/0"), "http://1.2.3.4/", "http://[fd00::1]/", "http://a.example/")
	add(both("10.0.0.0/33"), "http://10.0.0.0/", "http://10.1.1.1/")
	add(both("10.0.0"), "http://10.0.0.1/")
	add(both("010.0.0.1"), "http://10.0.0.1/")
	add(both("fd00::1"), "http://[fd00::1]/", "http://[fd00:0:0::1]:8080/", "http://[fd00::2]/")
	add(both("[fd00::1]:8080"), "http://[fd00::1]:8080/", "http://[fd00::1]/")
	add(both("fd00::/8"), "http://[fd12:3456::1]/", "http://[fe80::1]/", "http://10.0.0.1/")
	add(both("FD00::1"), "http://[fd00::1]/")
	add(both("::ffff:10.0.0.1"), "http://10.0.0.1/")
	add(both("10.0.0.0/8"), "http://[::ffff:10.0.0.1]/")
	// Lists.
	add(both(" a.example , b.example\t,"), "http://a.example/", "http://b.example/", "http://c.example/")
	add(both(",,10.0.0.0/8,,"), "http://10.1.1.1/", "http://a.example/")
	add(both("a.example b.example"), "http://a.example/", "http://b.example/")
	add(both(":8080,a.example"), "http://b.example:8080/", "http://a.example/")
	add(both("a.example:"), "http://a.example/", "http://a.example:8080/")
	return rows
}

package report_test

import (
	"fmt"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func ptr[T any](v T) *T { return &v }

func file(path string, line, column int) advisor.Origin {
	return advisor.Origin{Path: path, Line: line, Column: column}
}

func read(what string, v advisor.Value, o advisor.Origin) advisor.Evidence {
	return advisor.Evidence{What: what, Value: v, Origin: o}
}

var (
	sockDiag = advisor.Origin{Source: "sock_diag"}
	web      = advisor.Host{Name: "web-01", Kernel: "6.1.0-18-amd64", OS: "Debian GNU/Linux 12 (bookworm)", Source: "live"}
)

// diagnoses are the hosts that each format is tried on, by the name of their golden file.
func diagnoses() map[string]*advisor.Diagnosis {
	return map[string]*advisor.Diagnosis{
		"bad-night":   badNight(),
		"busy":        busy(),
		"chinese":     chinese(),
		"hostile":     hostile(),
		"markup":      markup(),
		"healthy":     {Host: web, Summary: advisor.Summary{Quiet: 61, NotApplicable: 9, FailOn: "warning", Verdict: "pass"}, Sockets: counted()},
		"not-root":    notRoot(),
		"nothing":     {Host: advisor.Host{Source: "files", Kernel: "6.18.0"}, Summary: advisor.Summary{Skipped: 70, FailOn: "warning", Verdict: "pass"}},
		"gaps":        gaps(),
		"many-alike":  manyAlike(),
		"waived-only": waivedOnly(),
	}
}

func badNight() *advisor.Diagnosis {
	return &advisor.Diagnosis{
		Host: web,
		Summary: advisor.Summary{
			Error: 2, Warning: 2, Info: 1, Waived: 1, Quiet: 61, NotApplicable: 9, Unknown: 3, Skipped: 2,
			FailOn: "warning", Verdict: "fail",
		},
		Findings: []advisor.Finding{unaccepted(), overflows(), recycle(), sackOff(), idlePool(), waivedFinding()},
		Unknown: []advisor.Undecided{
			{Rule: "close-wait/hidden", Needs: []string{"hidden_sockets"}, Why: "run as root"},
			{Rule: "fd/near-limit", Needs: []string{"processes.fds"}, Why: "run as root"},
			{Rule: "queue/syn-drops", Needs: []string{`rate["TcpExt.TCPReqQFullDrop"]`}, Why: "only one sample was taken: --sample 10s takes two"},
		},
		Conflicts: []advisor.Conflict{{
			Setting: "sysctl:net.ipv4.tcp_tw_reuse", Rules: []string{"time-wait/port-pressure", "sysctl/demands-conflict"},
			Why: "no value fulfils all of them",
		}},
		Sockets: counted(),
		Notices: []advisor.Gap{{Source: "network namespace 4026532281", Why: "2 listeners of other namespaces; --netns all reads them", Notice: true}},
	}
}

// counted are the sockets of a host with some traffic, all states known.
func counted() map[string]int64 {
	return map[string]int64{
		"listen": 14, "syn_sent": 0, "syn_recv": 3, "established": 412, "fin_wait1": 1, "fin_wait2": 6, "closing": 0,
		"time_wait": 28231, "close_wait": 28, "last_ack": 0,
	}
}

// busy has groups to draw, a fix to offer, a finding that a baseline knows, symptoms of symptoms and states not counted.
func busy() *advisor.Diagnosis {
	sockets := counted()
	delete(sockets, "syn_recv")
	sockets["established"], sockets["time_wait"] = 1234567, 98765
	value := advisor.Origin{Path: "/etc/sysctl.d/60-net.conf", Line: 4, Column: 22, Start: 121, End: 124}
	queue := func(key string, used, limit int64, severity advisor.Severity) advisor.Finding {
		return advisor.Finding{
			Rule: "queue/accept-queue-full", Severity: severity, Remedy: advisor.RemedyService, Confidence: advisor.ConfidenceHigh,
			Subject: advisor.Subject{Table: "listeners", Key: key}, Title: "an accept queue is full",
			Message: fmt.Sprintf("the accept queue of %s is full: %d finished connections wait for accept() where %d may", key, used, limit),
			Evidence: []advisor.Evidence{
				read("listeners.queue_used", advisor.Int(used), sockDiag), read("listeners.queue_limit", advisor.Int(limit), sockDiag),
				read("net.core.somaxconn", advisor.Int(128), value),
			},
			Changes: []advisor.ProposedChange{{
				Setting: "sysctl:net.core.somaxconn", From: ptr(advisor.Int(128)), To: ptr(advisor.Int(4096)),
				Safety: advisor.SafetyReview, Note: "restart the service, as listen() reads it once",
			}},
			Do: []string{"ss -ltn 'sport = :8080'"}, Docs: "docs/rules/queue/accept-queue-full.md",
		}
	}
	stuck := unaccepted()
	symptom, below := overflows(), queue(":: 8080", 101, 100, advisor.SeverityWarning)
	below.ExplainedBy = ptr("queue/listen-overflows")
	known := idlePool()
	known.Severity, known.Known = advisor.SeverityWarning, true
	return &advisor.Diagnosis{
		Host:     advisor.Host{Name: "edge-7", Kernel: "4.18.0-553.el8_10.x86_64", OS: "Rocky Linux 8.10 (Green Obsidian)", Source: "capture", Netns: "net:[4026531840]"},
		Summary:  advisor.Summary{Error: 2, Warning: 3, Quiet: 58, NotApplicable: 9, Unknown: 1, FailOn: "warning", Verdict: "fail"},
		Findings: []advisor.Finding{stuck, symptom, below, queue("0.0.0.0 443", 513, 511, advisor.SeverityError), known},
		Unknown:  []advisor.Undecided{{Rule: "queue/syn-drops", Needs: []string{"tcp.syn_recv"}, Why: "not counted: /proc/net/sockstat shows no connection"}},
		Sockets:  sockets,
	}
}

// markup holds what means something to Markdown, HTML, XML, SARIF and Prometheus, and to the pages that render them.
func markup() *advisor.Diagnosis {
	const evil = "</style></script><img src=x onerror=alert(1)>{{.}}]]>--><!-- `` [a](javascript:b) ![c](//d.example/e) @all #1 GH-2 |x| **b** _i_ ~~s~~ 1. http://f.example www.g.example \\\" 'q' &amp; $h$ {0}"
	return &advisor.Diagnosis{
		Host:    advisor.Host{Name: evil, Kernel: evil, OS: evil, Source: "root", Netns: evil},
		Summary: advisor.Summary{Error: 1, Waived: 1, Quiet: 3, Unknown: 1, FailOn: "warning", Verdict: "incomplete"},
		Findings: []advisor.Finding{
			{
				Rule: evil, Severity: advisor.SeverityError, Remedy: advisor.RemedyService, Confidence: advisor.ConfidenceLow,
				Subject: advisor.Subject{Table: "close_wait", Key: evil}, Title: evil, Message: "1. " + evil,
				Evidence: []advisor.Evidence{
					read(evil, advisor.Text(evil), file("/"+evil, 1, 1)), read("close_wait.count", advisor.Int(3), advisor.Origin{Source: evil}),
				},
				Changes: []advisor.ProposedChange{{Setting: evil, From: ptr(advisor.Text(evil)), To: ptr(advisor.Text(evil)), Safety: advisor.SafetySafe, Note: evil}},
				Do:      []string{evil, "# " + evil}, Dont: []string{"> " + evil, "- " + evil}, ExplainedBy: ptr(evil), Docs: evil,
			},
			{Rule: "x/y", Severity: advisor.SeverityInfo, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceCertain, Message: "    " + evil, Waived: ptr("===")},
		},
		Unknown:   []advisor.Undecided{{Rule: evil, Needs: []string{evil}, Why: evil}},
		Conflicts: []advisor.Conflict{{Setting: evil, Rules: []string{evil}, Why: evil}},
		Gaps:      []advisor.Gap{{Source: evil, Why: evil}},
		Notices:   []advisor.Gap{{Source: evil, Why: evil}},
	}
}

func unaccepted() advisor.Finding {
	return advisor.Finding{
		Rule: "close-wait/unaccepted", Severity: advisor.SeverityError, Remedy: advisor.RemedyApplication, Confidence: advisor.ConfidenceCertain,
		Subject: advisor.Subject{Table: "close_wait", Key: "java 8080"}, Title: "clients gave up before they were accepted",
		Message: "8 clients of java (pid 4711) on port 8080 left after 5 s without having been accepted; the oldest has been waiting in the queue for 40 s",
		Evidence: []advisor.Evidence{
			read("close_wait.count", advisor.Int(8), sockDiag), read("close_wait.inode", advisor.Int(0), sockDiag),
			read("close_wait.oldest", advisor.Duration(40e9), sockDiag),
			read("tomcat_connectors.acceptCount", advisor.Int(10), file("/opt/tomcat/conf/server.xml", 69, 44)),
		},
		Do: []string{
			"see what the threads wait for, three times, 5 s apart: jcmd 4711 Thread.print",
			"ss -tnp state close-wait 'sport = :8080'",
			"bound what the handler waits for (database, HTTP client, locks) below the 5 s that clients wait",
		},
		Dont: []string{
			"raise acceptCount or net.core.somaxconn: a longer queue holds more requests of clients that have left",
			"lower tcp_fin_timeout or tcp_keepalive_*: they do not apply to CLOSE_WAIT",
		},
		Docs: "docs/rules/close-wait/unaccepted.md",
	}
}

func overflows() advisor.Finding {
	return advisor.Finding{
		Rule: "queue/listen-overflows", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyService, Confidence: advisor.ConfidenceHigh,
		Title: "accept queues overflow", Message: "28 connection attempts a second meet a full accept queue",
		Evidence:    []advisor.Evidence{read(`rate["TcpExt.ListenOverflows"]`, advisor.Int(28), advisor.Origin{Path: "/proc/net/netstat"})},
		Do:          []string{"nstat -az TcpExtListenOverflows TcpExtListenDrops"},
		ExplainedBy: ptr("close-wait/unaccepted"), Docs: "docs/rules/queue/listen-overflows.md",
	}
}

func recycle() advisor.Finding {
	return advisor.Finding{
		Rule: "unsafe/tcp-tw-recycle", Severity: advisor.SeverityError, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceCertain,
		Subject: advisor.Subject{Table: "settings", Key: "/etc/sysctl.d/99-tuning.conf net.ipv4.tcp_tw_recycle"}, Title: "tcp_tw_recycle is set",
		Message:  "net.ipv4.tcp_tw_recycle = 1 has no effect since Linux 4.12, which removed it, and makes sysctl -p fail",
		Evidence: []advisor.Evidence{read("settings.value", advisor.Text("1"), file("/etc/sysctl.d/99-tuning.conf", 12, 28))},
		Changes: []advisor.ProposedChange{{
			Setting: "sysctl:net.ipv4.tcp_tw_recycle", From: ptr(advisor.Int(1)), Remove: true,
			Safety: advisor.SafetySafe,
		}},
		Do:   []string{"delete the line"},
		Docs: "docs/rules/unsafe/tcp-tw-recycle.md",
	}
}

func sackOff() advisor.Finding {
	return advisor.Finding{
		Rule: "unsafe/tcp-sack-off", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceCertain,
		Title:   "selective acknowledgement is switched off",
		Message: "net.ipv4.tcp_sack = 0 (default 1) makes the sender learn of one lost segment per round trip, so a burst of losses stalls the connection",
		Evidence: []advisor.Evidence{
			read("net.ipv4.tcp_sack", advisor.Int(0), file("/etc/sysctl.conf", 7, 21)),
			read("net.ipv4.tcp_sack", advisor.Int(0), advisor.Origin{Path: "/proc/sys/net/ipv4/tcp_sack"}),
		},
		Changes: []advisor.ProposedChange{
			{Setting: "sysctl:net.ipv4.tcp_sack", From: ptr(advisor.Int(0)), To: ptr(advisor.Int(1)), Safety: advisor.SafetyReview},
			{Setting: "nginx:/etc/nginx/nginx.conf http.keepalive_timeout", To: ptr(advisor.Duration(75e9)), Safety: advisor.SafetyManual, Note: "nginx -s reload"},
		},
		Do: []string{
			"set net.ipv4.tcp_sack = 1 in the file that sets 0, and sysctl -w net.ipv4.tcp_sack=1",
			"check that the kernel is patched: sysctl net.ipv4.tcp_min_snd_mss (there: it is)",
		},
		Dont: []string{"keep it off as a defence against the SACK panic of 2019: kernels since 5.2 and the stable updates of June 2019 are fixed"},
		Docs: "docs/rules/unsafe/tcp-sack-off.md",
	}
}

func idlePool() advisor.Finding {
	return advisor.Finding{
		Rule: "close-wait/client-pool", Severity: advisor.SeverityInfo, Remedy: advisor.RemedyApplication, Confidence: advisor.ConfidenceMedium,
		Subject: advisor.Subject{Table: "close_wait", Key: "java 10.0.0.7:8443"}, Title: "a client pool holds closed connections",
		Message:  "java (pid 4711) holds 20 connections that 10.0.0.7:8443 has closed: leaked, or idle in its pool",
		Evidence: []advisor.Evidence{read("close_wait.count", advisor.Int(20), sockDiag)},
		Do:       []string{"tcpadvise check --only 'close-wait/*' --sample 30s, under traffic: an idle pool closes them at the next use"},
		Dont:     []string{"enlarge the pool"},
		Docs:     "docs/rules/close-wait/client-pool.md",
	}
}

func waivedFinding() advisor.Finding {
	return advisor.Finding{
		Rule: "unsafe/tcp-timestamps-off", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceCertain,
		Title: "timestamps are off", Message: "net.ipv4.tcp_timestamps = 0 (default 1) gives up PAWS and exact round-trip samples",
		Evidence: []advisor.Evidence{read("net.ipv4.tcp_timestamps", advisor.Int(0), file("/etc/sysctl.conf", 9, 27))},
		Waived:   ptr("the load test of 2026-03 needs it; ends with ticket OPS-1412"), Docs: "docs/rules/unsafe/tcp-timestamps-off.md",
	}
}

func chinese() *advisor.Diagnosis {
	return &advisor.Diagnosis{
		Host:    advisor.Host{Name: "网关-01", Kernel: "5.10.134-16.al8.x86_64", OS: "Alibaba Cloud Linux 3", Source: "capture"},
		Summary: advisor.Summary{Warning: 1, Quiet: 60, NotApplicable: 10, Unknown: 1, FailOn: "error", Verdict: "pass"},
		Findings: []advisor.Finding{{
			Rule: "unsafe/tcp-sack-off", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceHigh,
			Title:    "选择性确认已关闭",
			Message:  "文件 /etc/sysctl.d/调优-网络.conf 把 net.ipv4.tcp_sack 设为 0（默认值为 1）：发送方每个往返只能得知一个丢失的报文段，因此一阵丢包就会使连接停顿很久。",
			Evidence: []advisor.Evidence{read("net.ipv4.tcp_sack", advisor.Int(0), file("/etc/sysctl.d/调优-网络.conf", 3, 21)), read("nginx.comment", advisor.Text("高并发优化，来自某篇博客文章"), file("/etc/nginx/nginx.conf", 4, 1))},
			Changes:  []advisor.ProposedChange{{Setting: "sysctl:net.ipv4.tcp_sack", From: ptr(advisor.Int(0)), To: ptr(advisor.Int(1)), Safety: advisor.SafetyReview, Note: "重新建立长连接"}},
			Do:       []string{"改好文件后立即生效：sysctl -w net.ipv4.tcp_sack=1", "sysctl -p /etc/sysctl.d/调优-网络.conf"},
			Dont:     []string{"因 2019 年的 SACK 漏洞而继续关闭：5.2 以后的内核以及 2019 年 6 月的稳定版更新都已修复"},
			Docs:     "docs/rules/unsafe/tcp-sack-off.md",
		}},
		Unknown: []advisor.Undecided{{Rule: "fd/near-limit", Needs: []string{"processes.fds"}, Why: "请以 root 运行"}},
	}
}

// hostile holds what a user without rights can plant: process names, file names, values and reasons of errors.
func hostile() *advisor.Diagnosis {
	const evil = "ng\x1b]0;owned\x07inx\nfails: no\u202egnihton\u2066 \u200bhere\xff\u009b2J"
	return &advisor.Diagnosis{
		Host:    advisor.Host{Name: "web\x1b[2J", Kernel: "6.1\r\n", OS: "\ufeffDebian", Source: "live", Netns: "a\tb"},
		Summary: advisor.Summary{Warning: 1, Quiet: 3, Unknown: 1, FailOn: "error", Verdict: "incomplete"},
		Findings: []advisor.Finding{{
			Rule: "a/b\x1bc", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyService, Confidence: advisor.ConfidenceCertain,
			Subject: advisor.Subject{Table: "listeners", Key: evil}, Title: evil, Message: "the queue of " + evil + " is full, and <b>&'quoted",
			Evidence: []advisor.Evidence{
				read("listener.process"+evil, advisor.Text(evil), advisor.Origin{Path: "/etc/" + evil}),
				read("settings.value", advisor.Text("\u00a01\u3000<&> \\u003c \u3164\U000e0041"), advisor.Origin{Source: evil}),
			},
			Changes: []advisor.ProposedChange{{Setting: "nginx:" + evil, From: ptr(advisor.Text("")), To: ptr(advisor.Text(" " + evil)), Safety: advisor.SafetyReview, Note: evil}},
			Do:      []string{"kill " + evil, "jcmd 1 " + evil + ": " + evil}, Dont: []string{evil},
			ExplainedBy: ptr(evil), Docs: evil,
		}},
		Unknown:   []advisor.Undecided{{Rule: evil, Needs: []string{evil}, Why: evil}},
		Conflicts: []advisor.Conflict{{Setting: evil, Rules: []string{evil}, Why: evil}},
		Gaps:      []advisor.Gap{{Source: evil, Why: evil}},
		Notices:   []advisor.Gap{{Source: evil, Why: evil}},
	}
}

func notRoot() *advisor.Diagnosis {
	d := &advisor.Diagnosis{Host: web, Summary: advisor.Summary{Quiet: 38, NotApplicable: 9, Unknown: 15, FailOn: "warning", Verdict: "pass"}}
	for i := range 14 {
		d.Unknown = append(d.Unknown, advisor.Undecided{Rule: fmt.Sprintf("close-wait/rule-%d", i), Needs: []string{"close_wait.pid"}, Why: "owner of the socket: run as root"})
	}
	d.Unknown = append(d.Unknown, advisor.Undecided{Rule: "conntrack/near-full", Needs: []string{"conntrack.count"}, Why: "permission denied"})
	return d
}

func gaps() *advisor.Diagnosis {
	d := &advisor.Diagnosis{
		Host:     advisor.Host{Name: "db-3", OS: "Ubuntu 24.04.1 LTS", Source: "root"},
		Summary:  advisor.Summary{Warning: 1, Quiet: 20, NotApplicable: 40, Unknown: 2, FailOn: "warning", Verdict: "incomplete"},
		Findings: []advisor.Finding{sackOff()},
		Gaps: []advisor.Gap{
			{Source: "/etc/nginx/nginx.conf", Why: `12:3: unexpected "}"`},
			{Source: "/srv/images/database-server-of-the-month/etc/sysctl.d/10-network-security.conf", Why: "permission denied"},
		},
	}
	for i, rule := range []string{"nginx/keepalive-off", "nginx/upstream-keepalive-inert"} {
		d.Unknown = append(d.Unknown, advisor.Undecided{Rule: rule, Needs: []string{fmt.Sprint("nginx_upstreams", i)}, Why: "/etc/nginx/nginx.conf could not be read"})
	}
	return d
}

func manyAlike() *advisor.Diagnosis {
	d := &advisor.Diagnosis{Host: web, Summary: advisor.Summary{Warning: 32, Quiet: 60, FailOn: "error", Verdict: "pass"}}
	for i := range 32 {
		d.Findings = append(d.Findings, advisor.Finding{
			Rule: "sysctl/removed-key", Severity: advisor.SeverityWarning, Remedy: advisor.RemedyKernel, Confidence: advisor.ConfidenceCertain,
			Message:  fmt.Sprintf("net.ipv4.old_key_%d left the kernel in 4.12", i),
			Evidence: []advisor.Evidence{read("settings.key", advisor.Text(fmt.Sprintf("net.ipv4.old_key_%d", i)), file("/etc/sysctl.conf", i+1, 1))},
			Do:       []string{"delete the line"}, Dont: []string{"hide it with a dash"},
		})
	}
	return d
}

func waivedOnly() *advisor.Diagnosis {
	return &advisor.Diagnosis{
		Host: web, Findings: []advisor.Finding{waivedFinding()},
		Summary: advisor.Summary{Waived: 1, Quiet: 60, NotApplicable: 9, FailOn: "warning", Verdict: "pass"},
	}
}

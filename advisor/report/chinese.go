package report

// chinese holds the text report's own phrases by their English form; what the rules say is translated with the rules. What
// a flag takes or a shell runs stays as it is typed.
func chinese() map[string]string {
	return map[string]string{ //nolint:gosec // "passes" is a verdict here, no secret
		", ": "，", ",": "，", "; ": "；", ";": "；", ":": "：",

		"files alone": "仅文件", "a host without a name": "未命名主机", "live": "在线", "from a capture": "来自采集包",
		"from another root": "来自其他根目录", "network namespace %s": "网络命名空间 %s", "judged for Linux %s": "按 Linux %s 判断",
		"rules %s": "规则 %s",

		"ERROR": "错误", "WARNING": "警告", "NOTE": "提示",
		"high confidence": "可信度高", "medium confidence": "可信度中", "low confidence": "可信度低",
		"a symptom of the above": "上述问题的症状", "a symptom of %s": "%s 的症状",

		"found:": "依据：", "change:": "更改：", "remedy:": "对策：", "do:": "操作：", "not:": "勿做：",
		"as above": "同上", "in the program's code; no kernel setting helps": "修改程序代码；内核参数无济于事",
		"removed": "删除", "then: %s": "然后：%s", "safe": "安全", "review first": "请先审阅", "by hand only": "仅限手工",

		"and %d more of %s: --format json lists it":   "%[2]s 另有 %[1]d 项：--format json 可列出",
		"and %d more of %s: --format json lists them": "%[2]s 另有 %[1]d 项：--format json 可列出",
		"and %d more: --format json lists it":         "另有 %d 项：--format json 可列出",
		"and %d more: --format json lists them":       "另有 %d 项：--format json 可列出",
		"and %d more":                                 "另有 %d 项",

		"%d finding is waived:": "已豁免 %d 项：", "%d findings are waived:": "已豁免 %d 项：",
		"%d rule undecided (%s):": "%d 条规则未能判断（%s）：", "%d rules undecided (%s):": "%d 条规则未能判断（%s）：",
		"for no stated reason":                                     "原因不明",
		"%d input could not be read:":                              "%d 项输入无法读取：",
		"%d inputs could not be read:":                             "%d 项输入无法读取：",
		"not read, and not asked for:":                             "未读取（未要求读取）：",
		"findings disagree on %d setting; no change is proposed:":  "%d 项设置的建议互相矛盾，不作更改：",
		"findings disagree on %d settings; no change is proposed:": "%d 项设置的建议互相矛盾，不作更改：",

		"reasons and exceptions:": "原因与例外：",

		"error": "错误", "warning": "警告", "info": "提示", " or ": "或", ": ": "：",
		"Severity: %s. What helps: %s. Since rule set %s.": "严重程度：%s。对策：%s。自规则集 %s 起。",
		"a kernel setting": "内核参数", "the configuration of a service": "服务的配置", "the program's code; no kernel setting does": "修改程序代码；内核参数无济于事",
		"Why": "原因", "When it fires": "触发条件", "Parameters": "参数", "Example": "示例", "Explains": "相关症状", "Sources": "资料来源",
		"For each row of [%s](%s), if all of these hold:":                       "对 [%s](%s) 的每一行，以下条件全部成立时：",
		"It may be ignored when: %s":                                            "以下情况可以忽略：%s",
		"Where these fire on the same thing they are symptoms of this one: %s.": "以下规则对同一对象触发时，是本规则的症状：%s。",
		"change (%s): %s": "更改（%s）：%s", "remove %s": "删除 %s", "%s from %s to %s": "%s 由 %s 改为 %s", "%s to %s": "%s 改为 %s", "do: %s": "操作：%s", "not: %s": "勿做：%s",

		"%d error": "%d 个错误", "%d errors": "%d 个错误", "%d warning": "%d 个警告", "%d warnings": "%d 个警告",
		"%d note": "%d 个提示", "%d notes": "%d 个提示", "%d waived": "%d 项已豁免",
		"%d rule quiet": "%d 条规则无发现", "%d rules quiet": "%d 条规则无发现",
		"%d does not apply": "%d 条不适用", "%d do not apply": "%d 条不适用",
		"%d undecided": "%d 条未能判断", "%d skipped": "%d 条已跳过",
		"%d finding below %s is not shown":                  "另有 %d 项低于 %s，未显示",
		"%d findings below %s are not shown":                "另有 %d 项低于 %s，未显示",
		"no rule was judged":                                "没有判断任何规则",
		"no finding in what could be read: %d rule judged":  "可读取的部分没有发现问题：已判断 %d 条规则",
		"no finding in what could be read: %d rules judged": "可读取的部分没有发现问题：已判断 %d 条规则",
		"no finding: %d rule judged":                        "没有发现问题：已判断 %d 条规则",
		"no finding: %d rules judged":                       "没有发现问题：已判断 %d 条规则",

		"fails: %d finding at or above %s":                     "不通过：%d 项达到或高于 %s",
		"fails: %d findings at or above %s":                    "不通过：%d 项达到或高于 %s",
		"incomplete: %d input could not be read":               "不完整：%d 项输入无法读取",
		"incomplete: %d inputs could not be read":              "不完整：%d 项输入无法读取",
		"%d finding at or above %s":                            "%d 项达到或高于 %s",
		"%d findings at or above %s":                           "%d 项达到或高于 %s",
		"passes: no finding at or above %s":                    "通过：没有达到或高于 %s 的问题",
		"passes: no new finding at or above %s":                "通过：没有达到或高于 %s 的新问题",
		"passes: no unwaived finding at or above %s":           "通过：除已豁免外，没有达到或高于 %s 的问题",
		"passes: --fail-on never":                              "通过：--fail-on never",
		"passes: nothing was found because nothing was judged": "通过：未作任何判断，因此没有发现",
		"%d rule is undecided":                                 "%d 条规则未能判断", "%d rules are undecided": "%d 条规则未能判断",
		"%d input was not read": "%d 项输入未读取", "%d inputs were not read": "%d 项输入未读取",

		"%d host": "%d 台主机", "%d hosts": "%d 台主机", "kernels:": "内核：", "systems:": "系统：",
		"%d fails": "%d 台不通过", "%d fail": "%d 台不通过", "%d incomplete": "%d 台不完整", "%d passes": "%d 台通过", "%d pass": "%d 台通过",
		"on": "位于", "on all %d hosts": "全部 %d 台主机", "on %d of %d hosts": "%[2]d 台主机中的 %[1]d 台", "on few only": "仅少数主机", "in": "文件",
		"and %d more like it, with other numbers or subjects": "另有 %d 项类似，数字或对象不同",
		"the default, which each kernel computes,":            "各内核自行计算的默认值", "(default)": "（默认）", "unknown": "未知",
		"%d capture could not be read:": "%d 个采集包无法读取：", "%d captures could not be read:": "%d 个采集包无法读取：",
		"the hosts differ in %d kernel parameter:":  "各主机有 %d 项内核参数不一致：",
		"the hosts differ in %d kernel parameters:": "各主机有 %d 项内核参数不一致：",
		"%d waiver holds:":                          "%d 项豁免生效：", "%d waivers hold:": "%d 项豁免生效：",
		"%d rule undecided:": "%d 条规则未能判断：", "%d rules undecided:": "%d 条规则未能判断：",

		"fails: %d host has findings at or above %s":   "不通过：%d 台主机有达到或高于 %s 的问题",
		"fails: %d hosts have findings at or above %s": "不通过：%d 台主机有达到或高于 %s 的问题",
		"%d host has findings at or above %s":          "%d 台主机有达到或高于 %s 的问题",
		"%d hosts have findings at or above %s":        "%d 台主机有达到或高于 %s 的问题",
		"incomplete: %s":                               "不完整：%s",
		"%d capture could not be read":                 "%d 个采集包无法读取", "%d captures could not be read": "%d 个采集包无法读取",
		"%d host could not be read in full": "%d 台主机未能完整读取", "%d hosts could not be read in full": "%d 台主机未能完整读取",
		"passes: no finding at or above %[2]s on %[1]d host":           "通过：%[1]d 台主机没有达到或高于 %[2]s 的问题",
		"passes: no finding at or above %[2]s on %[1]d hosts":          "通过：%[1]d 台主机没有达到或高于 %[2]s 的问题",
		"passes: no unwaived finding at or above %[2]s on %[1]d host":  "通过：除已豁免外，%[1]d 台主机没有达到或高于 %[2]s 的问题",
		"passes: no unwaived finding at or above %[2]s on %[1]d hosts": "通过：除已豁免外，%[1]d 台主机没有达到或高于 %[2]s 的问题",
	}
}

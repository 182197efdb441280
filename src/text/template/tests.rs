use super::*;
use serde_json::{Value as Json, json};

fn variables(json: &Json) -> serde_json::Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn render(template: &str, variables: &Json) -> Outcome<String> {
    let date = DateTime::from_ymd(2025, 3, 9).unwrap().at(14, 5, 7).unwrap();
    Template::parse(template)?.render(&self::variables(variables), date)
}

/// Every snippet renders to the text that Jinja gives in the environment of Hugging Face transformers.
#[test]
fn snippets_render_as_in_jinja() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/language.json")).unwrap();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let (template, text) = (case["template"].as_str().unwrap(), case["text"].as_str().unwrap());
        let rendered = render(template, &golden["variables"]);
        if rendered.as_deref() != Ok(text) {
            wrong.push(format!("{template:?}\n  expected {text:?}\n  rendered {rendered:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} snippets differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every snippet that Jinja refuses is refused here too.
#[test]
fn snippets_that_fail_in_jinja_fail() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/language.json")).unwrap();
    let mut wrong = Vec::new();
    for case in golden["errors"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        if let Ok(text) = render(template, &golden["variables"]) {
            wrong.push(format!("{template:?} renders {text:?}; Jinja says {}", case["error"]));
        }
    }
    assert!(wrong.is_empty(), "{} snippets do not fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// Templates that run, grow or recurse without end stop with an error, soon, and on a small stack.
#[test]
fn hostile_templates_stop_with_an_error() {
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let doubled_statically = (0..60).map(|_| "{% set s = s ~ s %}").collect::<String>();
    let templates = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% macro m(s) %}{{ m(s ~ s) }}{% endmacro %}{{ m('x') }}".to_owned(),
        "{% macro a() %}{{ b() }}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}".to_owned(),
        "{{ 'a' * 10 ** 9 }}".to_owned(),
        "{{ 'a' * 10 ** 18 }}".to_owned(),
        "{{ [0] * 10 ** 12 }}".to_owned(),
        "{{ range(10 ** 12) }}".to_owned(),
        "{{ range(-9223372036854775807, 9223372036854775807) }}".to_owned(),
        "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == [ns.l[0], [1]] or ns.l == ns.l }}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}".to_owned(),
        "{% set ns = namespace(l={}) %}{% for i in range(99999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}".to_owned(),
        "{% for i in range(99999) %}{% set x %}{{ 'y' * 100000 }}{% endset %}{% endfor %}".to_owned(),
        format!("{{% for i in range(99999) %}}{}{{% endfor %}}", "text ".repeat(2000)),
        format!("{{% set s = 'x' %}}{doubled_statically}{{{{ s | length }}}}"),
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}".to_owned(),
        "{{ ('a' * 1000000) | replace('', 'b' * 1000000) }}".to_owned(),
        "{{ (['a' * 1000000] * 100000) | join }}".to_owned(),
        "{{ ('b' * 1000000).join('a' * 100000) }}".to_owned(),
        "{{ ('\n' * 1000000) | indent(1000000, blank=true) }}".to_owned(),
        "{{ 'a' | indent(9223372036854775807, first=true) }}".to_owned(),
        "{{ 'a' | center(10 ** 12) }}".to_owned(),
        "{{ 'a'.zfill(10 ** 12) }}".to_owned(),
        "{{ [[1]] | tojson(indent=10 ** 12) }}".to_owned(),
        "{{ ([1] * 100000) | tojson(indent=100000) }}".to_owned(),
        "{{ ([1] * 100000) | tojson(separators=('x' * 100000, '')) }}".to_owned(),
        "{{ ('%s' * 100000) % ('a',) }}".to_owned(),
        "{{ ('{0}' * 100000).format('a' * 100000) }}".to_owned(),
        "{{ (range(100000) | list) | unique | list }}".to_owned(),
        "{% for i in range(1000) %}{{ ('a' * 100000) | list | length }}{% endfor %}".to_owned(),
        "{% for i in range(100000) %}{% if 'b' in text %}{% endif %}{% endfor %}".to_owned(),
        "{{ strftime_now('%c' * 10000000) }}".to_owned(),
        "{{ 2.5 | round(10 ** 9) }}".to_owned(),
        "{{ 9223372036854775807 + 1 }}".to_owned(),
        "{{ -9223372036854775807 - 2 }}".to_owned(),
        "{{ (-9223372036854775807 - 1) // -1 }}".to_owned(),
        "{{ 10 ** 400 }}".to_owned(),
        "{{ 99999999999999999999 }}".to_owned(),
        format!("{{{{ {} }}}}", nested("(", "1", ")", 100_000)),
        format!("{{{{ {} }}}}", nested("[", "1", "]", 100_000)),
        format!("{{{{ {} }}}}", nested("[", "1", "]", 70)),
        nested("{% if 1 %}", "1", "{% endif %}", 10_000),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".y".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " | abs".repeat(100_000)),
        format!("{{{{ x{} }}}}", "()".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " if 1".repeat(100_000)),
        format!("{{% set {}a = 1 %}}", "(".repeat(100_000)),
        "x".repeat(MAX_TEMPLATE_BYTES + 1),
    ];
    let test = move || {
        let input = json!({"text": "a".repeat(1 << 20)});
        for template in templates {
            let start = std::time::Instant::now();
            let shown: String = template.chars().take(80).collect();
            let result = render(&template, &input);
            let elapsed = start.elapsed();
            println!("{elapsed:?} {:?} {shown}", result.as_ref().map(String::len));
            assert!(result.is_err(), "{shown} gives {} bytes", result.map_or(0, |text| text.len()));
            assert!(elapsed.as_secs_f64() < 10.0, "{shown} takes {elapsed:?}");
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn recursion_within_the_limits_works_on_a_small_stack() {
    let deep = format!("{{{{ {}1{} }}}}", "[".repeat(50), "]".repeat(50));
    let chain = format!("{{{{ 1{} }}}}", " + 1".repeat(140));
    let recursive =
        "{% macro m(n) %}{% if n %}{{ n }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(30) }}".to_owned();
    let test = move || {
        for (template, length) in [(deep, 101), (chain, 3), (recursive, 51)] {
            assert_eq!(render(&template, &json!({})).unwrap().len(), length, "{template}");
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(test).unwrap().join().unwrap();
}

/// Numbers that are none have no order. A sort that relies on one may panic.
#[test]
fn lists_without_a_total_order_are_sorted_somehow() {
    let mut seed = 1_u64;
    for _ in 0..300 {
        let numbers: Vec<String> = (0..80)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = seed >> 33;
                if number.is_multiple_of(3) { "n".to_owned() } else { (number % 100).to_string() }
            })
            .collect();
        let template =
            format!("{{% set n = 'nan' | float %}}{{{{ [{}] | sort | length }}}}", numbers.join(", "));
        assert_eq!(render(&template, &json!({})).unwrap(), "80");
    }
    let template = "{{ ['b', 'A', 'a', 'B'] | sort }}{{ [3, 1, 2, 1] | sort(reverse=true) }}";
    assert_eq!(render(template, &json!({})).unwrap(), "['A', 'a', 'b', 'B'][3, 2, 1, 1]");
}

#[test]
fn deep_variables_are_refused() {
    let deep = (0..300).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(render("{{ x }}", &json!({"x": deep})).unwrap_err().kind, FailureKind::Limit);
}

#[test]
fn failures_name_their_line_and_kind() {
    for (template, kind, line, message) in [
        ("a\n{{ b.c }}", FailureKind::Runtime, 2, "'b' is undefined"),
        ("\n\n{% if %}", FailureKind::Syntax, 3, "expected an expression, found the end of the tag"),
        ("{% for i in [1] %}\n{{ raise_exception('no ' ~ i) }}{% endfor %}", FailureKind::Raised, 2, "no 1"),
        (
            "{% if true %}\n\n",
            FailureKind::Syntax,
            2,
            "'elif' or 'else' or 'endif' is missing at the end of the template",
        ),
        ("{{ 'a' * 10 ** 9 }}", FailureKind::Limit, 1, "the template creates too much text"),
    ] {
        let failure = render(template, &json!({})).unwrap_err();
        assert_eq!(failure, Failure { kind, message: message.to_owned(), line }, "{template}");
    }
}

proptest::proptest! {
    /// Any text, and any damaged template, is an error or a result: never a panic.
    #[test]
    fn damaged_templates_never_panic(
        text in "[ -}\\n]{0,60}",
        place in 0usize..2000,
        junk in "[%{}\\[\\]()'\"|.,:#a-f0-9 -]{0,4}",
    ) {
        let _ = render(&text, &json!({}));
        let _ = render(&["{{", &text, "}}"].concat(), &json!({}));
        let good = "{%- set ns = namespace(a=1) %}{% for m in messages if m.role %}{{ loop.index ~ m['content'][1:-1] | \
            trim | replace('a', 'b') }}{% if m is defined and m.x is not none or 1 in [1, 2.5] %}{{ m | tojson(indent=2) \
            }}{% elif {'a': (1, 2)}.get('a') %}{# c #}{% else %}{% break %}{% endif %}{% endfor %}{% macro q(a, b=2) %}{{ \
            a * b // 3 ** 2 }}{% endmacro %}{{ q(1) if not ns.a else '%s' % 'x' }}";
        let place = place % good.len();
        let damaged = [&good[..place], &junk, &good[(place + 1).min(good.len())..]].concat();
        let messages = json!({"messages": [{"role": "user", "content": "bañana"}]});
        let _ = render(&damaged, &messages);
        let _ = render(&good[..place], &messages);
    }
}

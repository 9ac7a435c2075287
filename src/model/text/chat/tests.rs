use super::*;

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn render(source: &str, messages: &[Message], options: &ChatOptions) -> Result<String> {
    ChatTemplate::from_source(source, [("bos_token", "<s>".to_string())].into())?.render(messages, options)
}

const TRIMS: &str =
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m.content | trim }}[end]\n{% endfor %}";

#[test]
fn blocks_take_their_line_with_them() {
    let source = "{%- for m in messages %}\n    {% if m.role == 'user' %}\nU:{{ m.content }}\n    {% endif %}\n{% endfor %}\n";
    assert_eq!(
        render(source, &[message("user", "a"), message("user", "b")], &ChatOptions::default()).unwrap(),
        "U:a\nU:b\n"
    );
}

/// Jinja2 3.1.6 gives the same; a message keeps its own line breaks.
#[test]
fn line_breaks_of_the_template_are_line_feeds() {
    let source =
        "a\r\n{% if true %}\r\nb\rc\r\n{% endif %}\r\n{{ messages[0].content }}{{ 'x\r\ny' }}{{ '\\r' }}\r\n";
    let text = render(source, &[message("user", "m\r\n")], &ChatOptions::default()).unwrap();
    assert_eq!(text, "a\nb\nc\nm\r\nx\ny\r");
}

#[test]
fn a_missing_token_prints_nothing() {
    let text = render("{{ bos_token }}|{{ eos_token }}|", &[message("user", "")], &ChatOptions::default());
    assert_eq!(text.unwrap(), "<s>||");
}

#[test]
fn the_final_message_is_left_open() {
    let options = ChatOptions { continue_final: true, ..Default::default() };
    let messages = [message("user", "hi"), message("assistant", "Answer: ")];
    assert_eq!(render(TRIMS, &messages, &options).unwrap(), "<s>[user]hi[end]\n[assistant]Answer:");
    let keeps = TRIMS.replace(" | trim", "");
    assert_eq!(render(&keeps, &messages, &options).unwrap(), "<s>[user]hi[end]\n[assistant]Answer: ");
}

#[test]
fn a_final_message_that_is_not_printed_cannot_be_continued() {
    let options = ChatOptions { continue_final: true, ..Default::default() };
    let error =
        render("{{ messages[0].content }}", &[message("user", "hi"), message("assistant", "x")], &options);
    assert!(matches!(error, Err(ChatError::FinalLost)), "{error:?}");
    let both = ChatOptions { add_generation_prompt: true, ..options };
    assert!(matches!(render(TRIMS, &[message("user", "hi")], &both), Err(ChatError::BothEnds)));
    assert!(matches!(render(TRIMS, &[], &both), Err(ChatError::Empty)));
}

#[test]
fn the_template_may_refuse() {
    let source = "{% macro check(m) %}{% if m.role == 'system' %}{{ raise_exception('no ' + m.role) }}{% endif %}{% endmacro %}{{ check(messages[0]) }}";
    let error = render(source, &[message("system", "")], &ChatOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "the model's chat template refuses these messages: no system");
}

#[test]
fn an_error_in_the_template_is_shown() {
    let error = render("{% if %}", &[], &ChatOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("the model's chat template has an error: syntax error"), "{error}");
}

#[test]
fn the_date_can_be_fixed() {
    let source = "{{ strftime_now('%d %b %Y') }}, {{ date_string }}";
    let options = ChatOptions { date: Some("26 Jul 2024".into()), ..Default::default() };
    assert_eq!(render(source, &[message("user", "")], &options).unwrap(), "26 Jul 2024, 26 Jul 2024");
    // Without one there is no clock to ask: a template that needs a date gets the default, others do without.
    for (source, text) in [
        ("{{ strftime_now('%Y') }}", DEFAULT_DATE),
        ("{% macro day() %}{{ strftime_now('%Y') }}{% endmacro %}{{ day() }}", DEFAULT_DATE),
        (
            "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}1 Dec 2023{% endif %}",
            "1 Dec 2023",
        ),
    ] {
        assert_eq!(render(source, &[message("user", "")], &ChatOptions::default()).unwrap(), text);
    }
}

#[test]
fn a_template_has_variables_of_its_own() {
    let source = "{{ bos_token }}{% set x = 1 %}{% for m in messages %}{{ m.content }}{{ x }}{{ loop.index }}{% endfor %}\
        {% if think is defined and think is false %} no{% endif %}{% if tools %} {{ tools[0].name }}{% endif %}\
        {{ strftime_now('') }}{{ date_string }}{% set ns = namespace(y=add_generation_prompt) %}{{ raise_exception() if ns.y }}";
    let template = ChatTemplate::from_source(source, SpecialTokens::new()).unwrap();
    assert_eq!(template.variables().into_iter().collect::<Vec<_>>(), ["think", "tools"]);
    let text = |variables: serde_json::Value| {
        let variables = variables.as_object().unwrap().clone();
        let options = ChatOptions { date: Some("-".into()), variables, ..Default::default() };
        template.render(&[message("user", "hi")], &options).unwrap()
    };
    assert_eq!(text(serde_json::json!({})), "hi11--");
    assert_eq!(text(serde_json::json!({"think": true})), "hi11--");
    assert_eq!(text(serde_json::json!({"think": false, "tools": [{"name": "f"}]})), "hi11 no f--");
}

/// Inside the tags a name that is set stays inside, and their line goes with them as with every block.
#[test]
fn generation_tags_only_mark() {
    let source = "{% for m in messages %}\n{%- generation -%} \n{% set x = 1 %}{{ m.content }} {%endgeneration%}\n{{ x is defined }}{% endfor %}";
    assert_eq!(render(source, &[message("user", "hi")], &ChatOptions::default()).unwrap(), "hi False");
}

#[test]
fn tests_of_type_are_jinjas() {
    let source = "{% for x in ['a', [], {}, none, 1] %}{{ x is sequence }} {{ x is iterable }} {% endfor %}";
    let found = render(source, &[message("user", "")], &ChatOptions::default()).unwrap();
    assert_eq!(found, "True True True True True True False False False False ");
}

/// `fixtures/render_expressions.py` wrote the file.
#[test]
fn expressions_give_what_transformers_gives() {
    let golden = std::fs::read_to_string("tests/golden/expressions.json").unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    let text = &golden["messages"][0]["content"];
    let options =
        ChatOptions { variables: golden["names"].as_object().unwrap().clone(), ..Default::default() };
    let mut wrong = Vec::new();
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let found = render(case[0].as_str().unwrap(), &[message("user", text.as_str().unwrap())], &options);
        if found.as_deref().ok() != case[1].as_str() {
            wrong.push(format!("{}: {found:?}, expected {}", case[0], case[1]));
        }
    }
    assert!(
        wrong.is_empty() && cases.len() > 500,
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn python_string_methods_work() {
    let source =
        "{{ messages[0].content.strip().split('|')[-1].upper() }}{{ messages[0].get('tools') is none }}";
    assert_eq!(render(source, &[message("user", " a|b ")], &ChatOptions::default()).unwrap(), "BTrue");
}

#[test]
fn a_template_cannot_run_away() {
    let started = std::time::Instant::now();
    let long = "{% set a = 'a' * 100000 %}";
    for source in [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=(1, 2)) %}{% for i in range(99999) %}{% set ns.x = (ns.x, 1) %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = dict(a=ns.x) %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = [{'a': ns}] %}{{ ns|tojson }}",
        "{% set ns = namespace(x=1) %}{% set l = [ns] %}{% set ns.x = l %}{{ ns == ns.x[0] }}",
        &format!("{long}{{{{ a.replace('a', a)|length }}}}"),
        &format!("{long}{{{{ a|replace('a', a)|length }}}}"),
        &format!("{long}{{{{ a.replace('', a)|length }}}}"),
        &format!("{long}{{{{ a.join(a)|length }}}}"),
        &format!("{long}{{{{ a|join(a)|length }}}}"),
        &format!("{long}{{{{ ([a] * 100000)|join|length }}}}"),
        &format!("{long}{{{{ ([a] * 100000)|string|length }}}}"),
        &format!("{long}{{{{ ([a] * 100000)|tojson|length }}}}"),
        &format!("{long}{{{{ ([a] * 100000)|sum(start='')|length }}}}"),
        &format!("{long}{{{{ [a] * 100000 }}}}"),
        &format!("{long}{{{{ ('a\n' * 100000)|indent(100000)|length }}}}"),
        &format!("{long}{{{{ ('a\n' * 100000)|indent(width=100000)|length }}}}"),
        &format!("{long}{{{{ ('a\n' * 100000)|indent(a)|length }}}}"),
        &format!("{long}{{% for i in range(100000) %}}{{{{ a }}}}{{% endfor %}}"),
        &format!("{long}{{% set x %}}{{% for i in range(100000) %}}{{{{ a }}}}{{% endfor %}}{{% endset %}}"),
        &format!(
            "{{% set x %}}{{% for i in range(100000) %}}{}{{% endfor %}}{{% endset %}}",
            "raw ".repeat(9999)
        ),
        &format!(
            "{long}{{% macro m() %}}{{{{ a }}}}{{{{ a }}}}{{% endmacro %}}{{% for i in range(99999) %}}{{{{ m() }}}}{{% endfor %}}"
        ),
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(1) }}",
        "{{ [1, 2]|batch(1000000000000, 'x') }}",
        "{{ [1, 2]|slice(1000000000000, 'x')|list }}",
        "{{ '%1000000000d' % 3 }}{{ '%1000000000d'|format(3) }}",
        "{{ '%*d'|format(1000000000, 3) }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ {'a': 1}|tojson(indent=1000000000000) }}",
        "{{ 'a' * 10000000000000 }}",
        "{{ [1] * 10000000000000 }}",
        "{% include 'chat' %}",
        "{% extends 'chat' %}",
        "{% set x = range(100000)|list %}{{ dict(*x, *x) }}",
        "{% for i in range(100000) %}{% set x = range(100000)|list %}{% endfor %}",
        "{% set a = 'a' * 50000000 %}{% for i in range(100000) %}{% if a == a ~ '' %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 50000000 %}{% for i in range(100000) %}{% if a[-1] == 'b' %}{% endif %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = ns.x|map('string') %}{% endfor %}{% for i in range(99999) %}{% set ns.x = ns.x[::-1] %}{% endfor %}{{ 1 / 0 }}",
    ] {
        let error = render(source, &[message("user", "hi")], &ChatOptions::default());
        assert!(error.is_err(), "{source}: {:?}", error.map(|text| text.len()));
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn a_long_conversation_is_no_excess() {
    let source = "{% set ns = namespace(seen=[], text='') %}{% for m in messages %}{% set ns.seen = ns.seen + [m] %}\
        {% if loop.index0 == messages|length - 1 %}{{ messages[1:]|length }}{% endif %}\
        {{ '<|' ~ m.role ~ '|>' + m.content|trim }}{{ m|tojson }}{% endfor %}{{ ns.seen|length }}";
    let messages: Vec<_> = (0..2000).map(|i| message("user", &format!("{i}").repeat(200))).collect();
    let text = render(source, &messages, &ChatOptions::default()).unwrap();
    assert!(text.ends_with("2000"), "{}", text.len());
}

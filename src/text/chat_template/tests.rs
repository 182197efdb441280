use super::*;

const ALTERNATING: &str = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}\
    {% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";

fn render(template: &ChatTemplate, messages: &[Message]) -> Result<String> {
    template.render(messages, &RenderOptions::default())
}

#[test]
fn a_refused_system_role_is_merged_into_the_next_user_message() {
    let template = ChatTemplate::from_source(ALTERNATING, TemplateTokens::default()).unwrap();
    assert!(template.merges_system());
    for (messages, text) in [
        (vec![Message::system("S"), Message::user("U")], "[user]S\n\nU"),
        (vec![Message::system("S"), Message::system("T"), Message::user("U")], "[user]S\n\nT\n\nU"),
        (
            vec![Message::user("U"), Message::assistant("A"), Message::system("S"), Message::user("V")],
            "[user]U[assistant]A[user]S\n\nV",
        ),
        (vec![Message::system("S")], "[user]S"),
    ] {
        assert_eq!(render(&template, &messages).unwrap(), text);
    }
}

#[test]
fn a_dropped_system_message_is_merged_and_a_kept_one_is_not() {
    let drops = "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}";
    let template = ChatTemplate::from_source(drops, TemplateTokens::default()).unwrap();
    assert_eq!(render(&template, &[Message::system("S"), Message::user("U")]).unwrap(), "[S\n\nU]");
    let keeps = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
    let template = ChatTemplate::from_source(keeps, TemplateTokens::default()).unwrap();
    assert!(!template.merges_system());
    assert_eq!(render(&template, &[Message::system("S"), Message::user("U")]).unwrap(), "[S][U]");
}

#[test]
fn errors_of_the_template_are_passed_on_with_a_hint() {
    let template = ChatTemplate::from_source(ALTERNATING, TemplateTokens::default()).unwrap();
    let error = render(&template, &[Message::user("U"), Message::user("V")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Template);
    assert_eq!(error.message(), "Conversation roles must alternate");
    assert_eq!(error.node(), Some("chat template line 1"));
    assert!(error.hint().unwrap().contains("in turn"), "{error}");
    let error = ChatTemplate::from_source("{% if %}", TemplateTokens::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Template);
}

#[test]
fn templates_are_looked_for_in_order() {
    let file = |name: &str, text: &str| TextFile { path: name.into(), text: text.into() };
    let jinja = file("chat_template.jinja", "jinja {{ bos_token }}");
    let json = file("chat_template.json", r#"{"chat_template": "json"}"#);
    let config = json!({"chat_template": [{"name": "tool_use", "template": "tools"},
                                          {"name": "default", "template": "config"}]});
    let prompts = json!({"user": "prompts {Content}"});
    let mut sources = TemplateSources {
        jinja_file: Some(&jinja),
        json_file: Some(&json),
        tokenizer_config: Some(&config),
        prompt_templates: Some(&prompts),
        family_template: Some("family"),
    };
    let tokens = TemplateTokens { bos: Some("<s>".to_owned()), ..TemplateTokens::default() };
    let load = |sources: &TemplateSources<'_>| ChatTemplate::load(sources, tokens.clone()).unwrap().unwrap();
    let user = [Message::user("U")];
    let template = load(&sources);
    assert_eq!(
        (template.origin(), render(&template, &user).unwrap()),
        (TemplateOrigin::JinjaFile, "jinja <s>".to_owned())
    );
    sources.jinja_file = None;
    let template = load(&sources);
    assert_eq!(
        (template.origin(), render(&template, &user).unwrap()),
        (TemplateOrigin::JsonFile, "json".to_owned())
    );
    sources.json_file = None;
    let template = load(&sources);
    assert_eq!(
        (template.origin(), render(&template, &user).unwrap()),
        (TemplateOrigin::TokenizerConfig, "config".to_owned())
    );
    let options = RenderOptions { tools: Some(json!([])), ..RenderOptions::default() };
    assert_eq!(template.render(&user, &options).unwrap(), "tools");
    let by_name = json!({"chat_template": {"default": "by name"}});
    sources.tokenizer_config = Some(&by_name);
    assert_eq!(render(&load(&sources), &user).unwrap(), "by name");
    sources.tokenizer_config = None;
    let template = load(&sources);
    assert_eq!(
        (template.origin(), render(&template, &user).unwrap()),
        (TemplateOrigin::PromptTemplates, "prompts U".to_owned())
    );
    sources.prompt_templates = None;
    assert_eq!(load(&sources).origin(), TemplateOrigin::Family);
    sources.family_template = None;
    assert!(ChatTemplate::load(&sources, tokens.clone()).unwrap().is_none());
}

#[test]
fn damaged_template_files_are_errors_that_name_the_file() {
    for (contents, is_jinja) in [
        (&b"{% if %}"[..], true),
        (b"\xFF\xFE", true),
        (b"{\"chat_template\": 5}", false),
        (b"{\"chat_template\": []}", false),
        (b"{}", false),
    ] {
        let file = TextFile { path: "chat_template".into(), text: contents.to_vec() };
        let mut sources = TemplateSources::default();
        *(if is_jinja { &mut sources.jinja_file } else { &mut sources.json_file }) = Some(&file);
        let error = ChatTemplate::load(&sources, TemplateTokens::default()).unwrap_err();
        assert_eq!(
            (error.kind(), error.file()),
            (ErrorKind::Template, Some(file.path.as_path())),
            "{contents:?}"
        );
    }
    let config = json!({"chat_template": {"tool_use": "x"}});
    let sources = TemplateSources { tokenizer_config: Some(&config), ..TemplateSources::default() };
    assert_eq!(
        ChatTemplate::load(&sources, TemplateTokens::default()).unwrap_err().kind(),
        ErrorKind::Template
    );
}

#[test]
fn prompt_templates_put_the_beginning_of_the_answer_after_the_last_question() {
    let full = json!({"system": "<S>{Content}</S>", "user": "<U>{Content}</U>", "assistant": "<A>{Content}</A>",
                      "prompt": "<U>{Content}</U><A>"});
    let messages =
        [Message::system("s"), Message::user("u"), Message::assistant("a"), Message::user("{Content}")];
    let render = |json: &Value, messages: &[Message], add_generation_prompt| {
        let sources = TemplateSources { prompt_templates: Some(json), ..TemplateSources::default() };
        let template = ChatTemplate::load(&sources, TemplateTokens::default()).unwrap().unwrap();
        template
            .render(messages, &RenderOptions { add_generation_prompt, ..RenderOptions::default() })
            .unwrap()
    };
    assert_eq!(render(&full, &messages, true), "<S>s</S><U>u</U><A>a</A><U>{Content}</U><A>");
    assert_eq!(render(&full, &messages, false), "<S>s</S><U>u</U><A>a</A><U>{Content}</U>");
    let without_prompt = json!({"user": "<U>{Content}</U>", "assistant": "<A>{Content}</A>"});
    assert_eq!(render(&without_prompt, &messages[1..2], true), "<U>u</U><A>");
    assert_eq!(render(&without_prompt, &messages[1..3], true), "<U>u</U><A>a</A><A>");
}

#[test]
fn variables_dates_and_tokens_reach_the_template() {
    let source = "{{ date_string }}|{{ strftime_now('%Y') }}|{{ eos_token }}|{{ pad_token is defined }}|{{ tools }}|\
                  {{ documents }}|{{ enable_thinking }}|{{ add_generation_prompt }}";
    let tokens = TemplateTokens { eos: Some("</s>".to_owned()), ..TemplateTokens::default() };
    let template = ChatTemplate::from_source(source, tokens).unwrap();
    let mut options = RenderOptions { date: DateTime::from_ymd(2025, 3, 9), ..RenderOptions::default() };
    options.variables.insert("enable_thinking".to_owned(), json!(false));
    let text = template.render(&[Message::user("U")], &options).unwrap();
    assert_eq!(text, "09 Mar 2025|2025|</s>|False|None|None|False|True");
}

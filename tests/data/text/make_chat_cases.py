"""Writes chat.json: conversations rendered by Hugging Face transformers with the chat templates of each family, and
the token ids that a tokenizer gives for them.

    pip install transformers jinja2
    python make_chat_cases.py
"""

import datetime
import json
import pathlib

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent.parent
NOW = datetime.datetime(2025, 3, 9)
TOOLS = [{"type": "function", "function": {"name": "open_door", "description": "Opens a \"door\" <é>.", "parameters": {
    "type": "object", "properties": {"door": {"type": "integer", "description": "Number"}}, "required": ["door"]}}}]

CONVERSATIONS = {
    "question": [("user", " Is the door open? \n")],
    "system": [("system", " Be brief. "), ("user", "Is the door open?")],
    "turns": [("user", "Hello"), ("assistant", " Hello! \n"), ("user", "Is door 3 open?\n\nTell me — 汉字 🦀")],
    "system and turns": [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello!"), ("user", "Bye")],
    "tool result": [("user", "Open door 3"), ("assistant", "{\"name\": \"open_door\"}"), ("tool", "{\"ok\": true}")],
    "two tool results": [("user", "Open"), ("assistant", "calls"), ("tool", "1"), ("tool", "2"), ("assistant", "Done"),
                         ("user", "Thanks")],
    "answer last": [("user", "Hello"), ("assistant", "Hello!")],
    "users in a row": [("user", "a"), ("user", "b")],
}

# Templates in the manner of published ones, with the constructs that those use.
STYLES = {
    "alternating with namespace": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Users and assistants take turns. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS][" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS]{"content": ' + content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "one line": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "line breaks kept": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nDefault<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n",
    "thinking": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}{{- tool_call.name }}{%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "macro for content": """{%- macro render(content) -%}
    {%- if content is string -%}{{- content | trim -}}{%- elif content is mapping -%}{{- content | tojson -}}
    {%- else -%}{%- for part in content -%}{{- part -}}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{{ bos_token -}}
{%- for message in messages -%}
    {{ '<' ~ message.role ~ '>' }}
    {{ render(message.content) }}
{% endfor %}
{% if add_generation_prompt %}
<assistant>
{% endif %}
""",
}


def conversation(turns):
    return [{"role": role, "content": content} for role, content in turns]


def render(source, messages, tools, add_generation_prompt):
    compiled = _compile_jinja_template(source)
    return compiled.render(
        messages=messages, tools=tools, documents=None, add_generation_prompt=add_generation_prompt,
        bos_token="<s>", eos_token="</s>", strftime_now=NOW.strftime)


def main():
    sources = {path.name: path.read_text(encoding="utf-8")
               for path in sorted((ROOT / "src/text/families").glob("*.jinja"))}
    cases = []
    for name, source in {**sources, **STYLES}.items():
        for which, turns in CONVERSATIONS.items():
            for tools in (None, TOOLS):
                for add_generation_prompt in (True, False):
                    case = {"template": name, "conversation": which, "tools": tools is not None,
                            "add_generation_prompt": add_generation_prompt}
                    try:
                        case["text"] = render(source, conversation(turns), tools, add_generation_prompt)
                    except Exception as error:
                        case["error"] = str(error)
                    cases.append(case)

    directory = ROOT / "tests/data/models/llama-3.2-1b-int4"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(directory / "tokenizer.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        chat_template=(directory / "chat_template.jinja").read_text(encoding="utf-8"))
    chats = []
    for which, turns in CONVERSATIONS.items():
        ids = tokenizer.apply_chat_template(
            conversation(turns), add_generation_prompt=True, tokenize=True, return_dict=False)
        chats.append({"conversation": which, "ids": list(ids)})
    texts = ["", " ", "Is the door open?", "  two  spaces\n\n\ttab\r\n", "naïve — 汉字 🦀", "<s>markup</s> <unk>",
             "don't 12345 I'LL", "\u0000\u00a0\u200d\ufeff"]
    encodings = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in texts]

    (HERE / "chat.json").write_text(json.dumps({
        "date": NOW.strftime("%Y-%m-%d"), "tools": TOOLS,
        "conversations": {which: conversation(turns) for which, turns in CONVERSATIONS.items()},
        "styles": STYLES, "cases": cases, "chats": chats, "encodings": encodings,
    }, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(cases), "cases,", sum("error" in case for case in cases), "errors")


main()

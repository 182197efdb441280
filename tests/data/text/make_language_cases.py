"""Writes language.json: template snippets and what they render to in the environment of Hugging Face transformers.

    pip install transformers jinja2
    python make_language_cases.py
"""

import datetime
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2025, 3, 9, 14, 5, 7)

MESSAGES = [
    {"role": "system", "content": "  Be brief.\n"},
    {"role": "user", "content": "What's \"up\"?\n\n"},
    {"role": "assistant", "content": "Not much — 汉字 🦀"},
    {"role": "user", "content": "<b>ok</b> & done"},
]
TOOLS = [{"type": "function", "function": {"name": "get_door", "description": "Is it \"open\"? <é>", "parameters": {
    "type": "object", "properties": {"id": {"type": "integer", "default": 1.5}, "deep": {"a": [], "b": {}, "c": None}},
    "required": ["id"]}}}]
VARIABLES = {
    "messages": MESSAGES, "tools": TOOLS, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
    "n": 7, "x": 2.5, "yes": True, "no": False, "nothing": None, "empty": [], "word": "hello World",
    "numbers": [3, 1, 2], "mixed": ["b", "A", "c", "a"], "d": {"b": 1, "a": 2, "items": 9}, "text": "one  two\tthree\n four ",
    "lines": "first\nsecond\r\nthird\n", "rows": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}],
}

# One snippet per line; \n inside them is a line break of the template where the line is a raw Python string.
EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
-2 ** 2
2 ** 3 ** 2
7 // 2
-7 // 2
-7 % 3
7 % -3
7 / 2
6 / 2
7.5 // 2
-7.5 % 2
1e3
1.5e-7
1e16
123456789.125
0.1 + 0.2
1_000
0x1F
10 - 2 - 3
'a' 'b'
'a' ~ 1 ~ none ~ missing
'a' + 'b'
'ab' * 3
[1] + [2]
[1, 2] * 2
(1, 2) + (3,)
'\n\t\\\x41\u00e9\q'
"it's"
'a' in 'cat'
'x' not in 'cat'
2 in numbers
'b' in d
1 < 2 < 3
3 > 2 > 2
1 == 1.0
true == 1
'a' == 'a'
none == none
missing == missing
missing == none
not true
not 1 == 2
not missing
1 and 2
0 or 'x'
'' or missing or 'z'
n if yes else x
n if no
'yes' if yes and not no else 'no'
1 if 0 else 2 if 0 else 3
word[0]
word[-1]
word[99]
word[1:3]
word[::-1]
word[:-3]
word[::2]
word[5:2]
numbers[-2:]
numbers[::-1]
messages[1:] | length
messages[0].role
messages[0]['role']
messages[-1]['content'][:4]
messages[9] is defined
messages.0.role
d.a
d['a']
d.items is defined
d['items']
d.get('a')
d.get('zz')
d.get('zz', 5)
d.keys() | list
d.values() | list
d.items() | list
d
[1, 2.0, 'x', none, true, [], {}, (), (1,)]
{'a': "it's", 'b': 'q"'}
"a\nb"
'%s and %s' % ('x', 3)
'%d%%' % 7
word.upper()
word.lower()
word.title()
word.capitalize()
'  x '.strip()
'xxaxx'.strip('x')
'xxaxx'.lstrip('x')
'xxaxx'.rstrip('x')
text.split()
text.split(none, 1)
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
text.rsplit(none, 1)
''.split()
''.split(',')
lines.splitlines()
lines.splitlines(true)
word.startswith('he')
word.startswith(('x', 'h'))
word.endswith('d')
word.replace('l', 'L')
word.replace('l', 'L', 1)
word.find('World')
word.find('zz')
word.rfind('l')
word.count('l')
word.index('W')
'汉字x'.find('x')
'-'.join(['a', 'b'])
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'prefix-x'.removeprefix('prefix-')
'x-suffix'.removesuffix('-suffix')
'{1} {name}'.format('a', 'b', name='c')
'{0}{1}{0}'.format('a', 'b')
'{} {}'.format(1, none)
'7'.zfill(3)
'-7'.zfill(4)
'ab'.center(7)
'abc'.center(6)
'abc'.isalpha()
'ab1'.isalnum()
'12'.isdigit()
''.isdigit()
'ab'.islower()
'AB1'.isupper()
' '.isspace()
word | upper
word | title
'foo-bar (baz)' | title
word | capitalize
word | length
'汉字' | length
d | length
word | reverse
numbers | reverse | list
numbers | sort
numbers | sort(reverse=true)
mixed | sort
mixed | sort(case_sensitive=true)
mixed | unique | list
rows | sort(attribute='v', reverse=true) | map(attribute='v') | list
rows | map(attribute='k') | join(', ')
rows | map(attribute='zz', default='-') | list
rows | selectattr('k', 'equalto', 'x') | map(attribute='v') | list
rows | rejectattr('k', 'equalto', 'x') | list
rows | selectattr('v') | list | length
rows | selectattr('k', 'in', ['x']) | list | length
rows | sum(attribute='v')
rows | groupby('k') | length
mixed | map('upper') | join
mixed | map('replace', 'a', 'x') | list
numbers | select('odd') | list
numbers | reject('odd') | list
numbers | select('greaterthan', 1) | list
numbers | select('in', [1, 2]) | list
numbers | sum
numbers | min
numbers | max
mixed | min
numbers | first
numbers | last
empty | first is defined
numbers | join
numbers | join('-')
rows | join(',', attribute='k')
d | dictsort
d | dictsort(by='value')
d | dictsort(reverse=true)
d | items | list
d | list
word | list | length
missing | default('x')
missing | default
nothing | default('x')
nothing | default('x', true)
'' | d('x', boolean=true)
missing.zz | default('x') if missing is defined else 'u'
-5 | abs
2.5 | round
3.5 | round
2.567 | round(2)
2.1 | round(method='ceil')
2.9 | round(0, 'floor')
7 | round
'12' | int
'12.7' | int
'zz' | int
'zz' | int(5)
'ff' | int(base=16)
2.9 | int
'1.5' | float
'zz' | float
3 | float
5 | string + 'x'
none | string
[1, 'a'] | string
word | trim
'  a b ' | trim
'xxaxx' | trim('x')
word | replace('o', '0')
word | replace('o', '0', 1)
lines | indent
lines | indent(2)
lines | indent(2, first=true)
'a\n\nb' | indent(2, blank=true)
'a\n\nb' | indent(2)
'hello wonderful world' | truncate(12)
'hello wonderful world' | truncate(12, true, '…')
'hello' | truncate(3)
'a' | center(5)
'<a href="x">\'&' | escape
'<b>' | e
'<b>' | safe
'a b/ü?' | urlencode
'one two, three_3' | wordcount
'%s-%s' | format(1, 'b')
messages | tojson
tools | tojson
tools[0] | tojson(indent=2)
tools[0].function | tojson(indent=4, sort_keys=true)
d | tojson(separators=(',', ':'))
word | tojson
[] | tojson(indent=2)
{} | tojson(indent=2)
[[], {}, [1, [2]]] | tojson(indent=1)
'é\u2028\x01"\\/' | tojson
'é🦀' | tojson(ensure_ascii=true)
[1.0, 1e20, 0.00001, -0.0, 12345678901234567] | tojson
none | tojson
true | tojson
n is defined
missing is defined
missing is undefined
missing is not defined
nothing is none
n is none
n is number
x is number
yes is number
n is integer
yes is integer
x is float
yes is boolean
yes is true
no is false
1 is true
word is string
d is mapping
numbers is mapping
numbers is sequence
d is sequence
word is sequence
n is sequence
numbers is iterable
n is iterable
missing is iterable
word is iterable
n is odd
n is even
6 is divisibleby 3
6 is divisibleby(4)
n is eq 7
n is equalto(7)
n is gt 5
n is sameas 7
'a' is in ['a', 'b']
3 is in numbers
'abc' is lower
'ABC' is upper
range is callable
word is callable
not word is string
word is string and n is number
word is not string or yes
range(3) | list
range(1, 4) | list
range(5, 0, -2) | list
range(0) | list
dict(a=1, b=2)
dict({'x': 1}, y=2)
namespace(a=1).a
strftime_now('%d %b %Y')
strftime_now('%A %B %j %H:%M:%S %y %m %a')
1, 2
(1, 2)[0]
[1, 2, 3,][2]
{'a': {'b': [10, 20]}}.a.b[1]
'a' if missing else 'b'
(yes or no) and (no or n)
messages | selectattr('role', 'equalto', 'user') | list | length
messages | map(attribute='content') | map('trim') | map('length') | list
(messages | last).content
messages | rejectattr('role', 'in', ['system']) | map(attribute='role') | join('/')
messages[1].content.strip() + '|'
messages[1]['content'] | trim ~ '|'
'tools' in messages[0] and messages[0]['tools'] is not none
messages[0].tools is defined and messages[0].tools
word.split(' ')[0]
'<think>a</think>b'.split('</think>')[-1].lstrip('\n')
'%.2f' is string
[missing] | length
(missing | default({})).x is defined
true and none
1 + true
{1: 'a', 'b': 2}[1]
{1: 'a'}[1.0]
'x' ~ [1, 'y']
numbers == [3, 1, 2]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
(1, 2) < (1, 3)
'a' < 'b'
[1] == (1,)
word.nothing is defined
-n
+n
- - n
2 * -3
n|string|length
'a'|upper ~ 'b'|upper
[[1, 2], [3, 4]] | map('first') | list
[[1, 2], [3, 4]] | map('sum') | list
[{'a': {'b': 1}}] | map(attribute='a.b') | list
[[5, 6]] | map(attribute=1) | list
[[5, 6]] | map(attribute='0') | list
'abc' | map('upper') | list
['1', 'x'] | map('int', default=9) | list
[0, 1, '', 'a', none] | select | list
[0, 1, '', 'a', none] | reject | list
""".strip("\n").split("\n")

ERRORS = r"""
missing.attribute
missing['item']
missing + 'a'
'a' + 1
1 + 'a'
1 / 0
1 // 0
1 % 0
'a' < 1
none | length
none.x.y
5 | length
missing()
n()
word.nosuch()
empty.append(1)
d.update({})
d.pop('a')
messages[0].nosuch.deeper
raise_exception('Conversation roles must alternate')
word | nosuchfilter
word is nosuchtest
range(1000000)
range(0, 10, 0)
none + none
for_undefined_function()
['a', 1] | sort
1 in 5
'a' in missing.b
'x'.join([1])
word.index('zz')
{[]: 1}
missing | tojson
namespace() | tojson
(1 | first)
1 +
(1
'abc
{{ 1
1 2
a b
|upper
1 ** 'a'
"""
ERRORS = [line for line in ERRORS.strip("\n").split("\n")]

TEMPLATES = [
    # Whitespace control.
    "a\n{% if yes %}\n  b\n{% endif %}\nc\n",
    "a\n  {% if yes %}  \n  b\n  {% endif %}\nc",
    "a  {%- if yes -%}  b  {%- endif -%}  c",
    "a\n  {%+ if yes %}b{% endif +%}\nc",
    "a {{- ' b ' -}} c",
    "a\n   {{ 'b' }}\n c",
    "a {# comment #} b\n{# whole line #}\nc",
    "a\n  {#- stripped -#}  \n b",
    "  {# indented #}\nx",
    "{% raw %}{{ not }} {% this %}{% endraw %}!",
    "a\n  {% raw %}\n  {{ x }}\n  {% endraw %}\nb",
    "a  {%- raw -%}  {{ x }}  {%- endraw -%}  b",
    "line\r\nother\rthird\n\n",
    "{% if yes %}\r\nx\r\n{% endif %}\r\n",
    "\n\n{% if yes %}x{% endif %}\n\n",
    "{{ 'trailing newline' }}\n",
    "{{ 'two' }}\n\n",
    "{%if yes%}x{%endif%}{{yes}}{{-no-}}",
    "   {% set a = 1 %}   {{ a }}",
    "x {% set a = 1 %} {{ a }}",
    "{% set a = 1 %}{% set b = 2 %}\n{{ a }}{{ b }}",
    "{{ '%}' }}{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}",
    "{% if '{%' in '{% x' %}yes{% endif %}",
    "a{{ 1 }}\n{{ 2 }}\n",
    "{ {{ 1 }} }{ %{#}#}",
    # Statements.
    "{% if no %}1{% elif nothing %}2{% elif n == 7 %}3{% else %}4{% endif %}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ m.role }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for m in messages %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content | trim }}{% else %}none{% endfor %}",
    "{% for m in messages if m.role == 'nobody' %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }} {% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}={{ v }} {% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'añ' %}[{{ c }}]{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for a in numbers %}{% for b in numbers %}{{ loop.depth }}{{ a }}{{ b }} {% endfor %}{% endfor %}",
    "{% for a in numbers %}{{ loop.previtem | default('-') }}<{{ a }}>{{ loop.nextitem | default('-') }} {% endfor %}",
    "{% for a in numbers %}{{ loop.cycle('x', 'y') }}{% endfor %}",
    "{% for a in missing %}x{% else %}nothing{% endfor %}",
    "{% set x = 1 %}{% for i in numbers %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(found=false, count=0) %}{% for i in numbers %}{% set ns.count = ns.count + i %}{% if i == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.count }}",
    "{% set ns = namespace() %}{% set ns.a = 'x' %}{{ ns.a }}{{ ns.b is defined }}{{ ns['a'] }}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set t = 1, 2 %}{{ t }}",
    "{% set block %}  in {{ word }}\n{% endset %}[{{ block }}]",
    "{% set block | upper | trim %}  in {{ word }}\n{% endset %}[{{ block }}]",
    "{% if yes %}{% set inner = 5 %}{% endif %}{{ inner }}",
    "{% filter upper %}abc {{ word }}{% endfilter %}",
    "{% filter replace('a', 'x') | trim %} banana {% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% macro m(a, b='B', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m() }}",
    "{% macro fact(n) %}{% if n > 1 %}{{ n }}*{{ fact(n - 1) }}{% else %}1{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro m() %}{{ word }}{{ local is defined }}{% endmacro %}{% for i in [1] %}{% set local = 1 %}{{ m() }}{% endfor %}",
    "{% macro m(x) %}{% set word = x %}{{ word }}{% endmacro %}{{ m(1) }}{{ word }}",
    "{% macro box() %}<{{ caller() }}>{% endmacro %}{% call box() %}in {{ word }}{% endcall %}",
    "{% macro each(items) %}{% for i in items %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(item) each(numbers) %}({{ item }}{{ n }}){% endcall %}",
    "{% macro m() %}x{% endmacro %}{{ m() | upper }}{{ m() ~ 'y' }}{{ m() | length }}",
    "{% generation %}{{ word }}{% endgeneration %}!",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
    "{% block content %}x{% endblock content %}{% block b %}y{% endblock %}",
    "{% autoescape false %}{{ '<' }}{% endautoescape %}",
    "{{ '<&>' }}{{ messages[3].content }}",
    "{%- set loop_messages = messages[1:] %}{%- for message in loop_messages %}{%- set content = message['content'] | trim %}{%- if loop.index0 == 0 %}{%- set content = bos_token + content %}{%- endif %}{{- content }}{%- endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}{% endif %}{{ messages | length }}{{ system }}",
    "{% set date = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' %}{{ date }}",
    "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }}",
    "{% if tools is not none and tools is iterable %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}",
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 1) %}bad{% endif %}{% endfor %}",
    "{% for message in messages[::-1] %}{{ message.role }} {% endfor %}",
    "{% for key in d.keys() | sort %}{{ key }}{% endfor %}",
    "{% set out = [] %}{% for m in messages %}{% set out = out + [m.role] %}{% endfor %}{{ out | length }}",
    "{% for i in range(3) %}{% for j in range(2) %}{% if j %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% if messages[-1].content is string %}s{% elif messages[-1].content is iterable %}i{% endif %}",
    "{% for item in [{'type': 'text', 'text': 'a'}, {'type': 'image'}] %}{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}",
    "{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content }}",
    "{%- for tool in tools %}{{ tool.function.parameters.properties | items | map('first') | join(',') }}{%- endfor %}",
    "{% for name, p in tools[0].function.parameters.properties | items %}{{ name }}:{{ p.type | default('?') }};{% endfor %}",
    "{% for a in [1, 2] %}{{ a }}{% else %}{{ loop is defined }}{% endfor %}",
    "{% set a = 1 %}{% macro m() %}{{ a }}{% endmacro %}{% set a = 2 %}{{ m() }}",
    "{{ loop is defined }}{{ caller is defined }}",
    "{% set x %}{% endset %}{{ x == '' }}",
    "{{ [1,2,3][0:2] }}{{ 'abc'[1] }}{{ {'a': 1}['a'] }}",
    "{{ \"double \\\"quoted\\\"\" }}{{ 'single \\'quoted\\'' }}",
    "{{ word.upper().lower().title() }}{{ (word | upper).lower() }}",
    "{{ 1 if yes else 2 }}{{ (1 if no else 2) + 3 }}",
    "{% if yes and (no or n) and not nothing %}ok{% endif %}",
    "{% for m in messages %}{{ {'user': 'U', 'assistant': 'A'}.get(m.role, '?') }}{% endfor %}",
    "{{ messages | map(attribute='role') | unique | list }}",
    "{{ '-' * 3 }}{{ 3 * '-' }}{{ 'x' * 0 }}{{ 'x' * -1 }}",
]
BROKEN_TEMPLATES = [
    "{% if yes %}x", "{% for x in numbers %}", "{% endif %}", "{{ 1", "{% set %}", "{% unknown %}", "{% if %}x{% endif %}",
    "{# open", "{% raw %}x", "{% for in x %}{% endfor %}", "{% macro %}{% endmacro %}", "{{ }}", "{% endfor %}x",
    "{% if a %}{% else %}{% elif b %}{% endif %}", "{{ 'a }}", "{% include 'x' %}", "{% extends 'x' %}", "{{ a. }}",
    "{{ a[ }}", "{{ f(a=1, 2) }}", "{% set ns.x = 1 %}", "{% for x in 5 %}{% endfor %}", "{% set a, b = 1, 2, 3 %}",
    "{{ 1 }", "{% call 5 %}{% endcall %}", "{{ )( }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
]


def render(template):
    compiled = _compile_jinja_template(template)
    return compiled.render(**json.loads(json.dumps(VARIABLES)), strftime_now=NOW.strftime)


def main():
    cases, errors = [], []
    for template in ["{{ " + line + " }}" for line in EXPRESSIONS] + TEMPLATES:
        try:
            cases.append({"template": template, "text": render(template)})
        except Exception as error:
            print("error:", template, "->", error)
    for template in ["{{ " + line + " }}" for line in ERRORS] + BROKEN_TEMPLATES:
        try:
            print("no error:", template, "->", repr(render(template)))
        except Exception as error:
            errors.append({"template": template, "error": f"{type(error).__name__}: {error}"})
    (HERE / "language.json").write_text(
        json.dumps({"now": NOW.isoformat(), "variables": VARIABLES, "cases": cases, "errors": errors},
                   ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(cases), "cases,", len(errors), "errors")


main()

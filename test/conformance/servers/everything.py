"""An MCP server of both eras that offers all that the conformance suites ask of one. Standard library only."""
import hashlib
import hmac
import json
import sys
import time

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
KEY = b"the state of these tests holds no secret"
META = "io.modelcontextprotocol/"
INFO = {"name": "everything", "version": "1.0.0"}
CAPABILITIES = {
    "tools": {},
    "resources": {"subscribe": True},
    "prompts": {},
    "completions": {},
    "logging": {},
}


class Refusal(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


class NeedsInput(Exception):
    def __init__(self, requests, state=None):
        super().__init__()
        self.result = {"resultType": "input_required", "inputRequests": requests}
        if state is not None:
            self.result["requestState"] = state


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method, params):
    send({"method": method, "params": params})


asked = 0


def ask(method, params):
    """Asks the client something and waits for its answer (the era with a handshake)."""
    global asked
    asked += 1
    own = f"q{asked}"
    send({"id": own, "method": method, "params": params})
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == own and "method" not in message:
            if "error" in message:
                raise RuntimeError(message["error"]["message"])
            return message["result"]
    sys.exit(0)


def text(words, **more):
    return {"content": [{"type": "text", "text": words}], **more}


def form(message, properties, required=None):
    schema = {"type": "object", "properties": properties}
    if required is not None:
        schema["required"] = required
    return {"message": message, "requestedSchema": schema}


def seal(value):
    mac = hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()
    return f"{value}.{mac}"


def unseal(state):
    value, _, mac = str(state).rpartition(".")
    if not hmac.compare_digest(seal(value), f"{value}.{mac}"):
        raise Refusal(-32602, "The requestState was changed")
    return value


def request_of(method, params):
    return {"method": method, "params": params}


NAME_FORM = request_of("elicitation/create", form("What is your name?", {"name": {"type": "string"}}, ["name"]))
CONFIRM_FORM = request_of("elicitation/create", form("Please confirm", {"ok": {"type": "boolean"}}, ["ok"]))


def sampling(words, tokens=100):
    message = {"role": "user", "content": {"type": "text", "text": words}}
    return {"messages": [message], "maxTokens": tokens}


def responses(params):
    given = params.get("inputResponses", {})
    if not isinstance(given, dict):
        raise Refusal(-32602, "inputResponses is an object")
    return given


def accepted(params, key):
    answer = responses(params).get(key)
    if isinstance(answer, dict) and answer.get("action") == "accept" and isinstance(answer.get("content"), dict):
        return answer["content"]
    return None


def level_of(params, era):
    return params.get("_meta", {}).get(META + "logLevel") if era == "2026" else level


def log(params, era, words):
    if level_of(params, era) is not None:
        notify("notifications/message", {"level": "info", "logger": "everything", "data": words})


level = "debug"

# Tools


def mixed(params, era):
    return {
        "content": [
            {"type": "text", "text": "Multiple content types test:"},
            {"type": "image", "data": PNG, "mimeType": "image/png"},
            {
                "type": "resource",
                "resource": {
                    "uri": "test://mixed-content-resource",
                    "mimeType": "application/json",
                    "text": '{"test":"data","value":123}',
                },
            },
        ]
    }


def with_logging(params, era):
    log(params, era, "Tool execution started")
    time.sleep(0.05)
    log(params, era, "Tool processing data")
    time.sleep(0.05)
    log(params, era, "Tool execution completed")
    return text("Logged three times.")


def with_progress(params, era):
    token = params.get("_meta", {}).get("progressToken")
    for progress in (0, 50, 100):
        if token is not None:
            notify("notifications/progress", {"progressToken": token, "progress": progress, "total": 100})
        time.sleep(0.05)
    return text("All done.")


def with_sampling(params, era):
    if era == "2026":
        raise NeedsInput({"answer": request_of("sampling/createMessage", sampling(params["arguments"]["prompt"]))})
    result = ask("sampling/createMessage", sampling(params["arguments"]["prompt"]))
    return text(f"LLM response: {result['content']['text']}")


def elicit(message, properties, required=None, words="Elicitation completed"):
    result = ask("elicitation/create", form(message, properties, required))
    content = json.dumps(result.get("content", {}))
    return text(f"{words}: action={result['action']}, content={content}")


def with_elicitation(params, era):
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    return elicit(params["arguments"]["message"], properties, ["username", "email"], "User response")


def with_defaults(params, era):
    return elicit(
        "Please review these values",
        {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        },
    )


def titled(*pairs):
    return [{"const": value, "title": title} for value, title in pairs]


def with_enums(params, era):
    options = ["option1", "option2", "option3"]
    one = titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option"))
    many = titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice"))
    return elicit(
        "Please choose",
        {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": one},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": many}},
        },
    )


def list_roots(params, era):
    if era == "2026":
        raise NeedsInput({"client_roots": request_of("roots/list", {})})
    roots = ask("roots/list", {})["roots"]
    return text(", ".join(root["uri"] for root in roots))


def missing_capability(params, era):
    if "sampling" not in params.get("_meta", {}).get(META + "clientCapabilities", {}):
        raise Refusal(-32021, "This tool needs sampling", {"requiredCapabilities": {"sampling": {}}})
    return text("sampled")


def streaming_elicitation(params, era):
    if accepted(params, "user_name") is None:
        raise NeedsInput({"user_name": NAME_FORM})
    return text("streamed")


def needs_name(params, era):
    content = accepted(params, "user_name")
    if content is None or not isinstance(content.get("name"), str):
        raise NeedsInput({"user_name": NAME_FORM})
    return text(f"Hello, {content['name']}!")


def needs_sampling(params, era):
    answer = responses(params).get("capital_question")
    if not isinstance(answer, dict) or "content" not in answer:
        question = request_of("sampling/createMessage", sampling("What is the capital of France?"))
        raise NeedsInput({"capital_question": question})
    return text(answer["content"]["text"])


def needs_roots(params, era):
    answer = responses(params).get("client_roots")
    if not isinstance(answer, dict) or "roots" not in answer:
        raise NeedsInput({"client_roots": request_of("roots/list", {})})
    return text(f"roots: {json.dumps(answer['roots'])}")


def needs_state(params, era):
    if accepted(params, "confirm") is None:
        raise NeedsInput({"confirm": CONFIRM_FORM}, seal("confirm"))
    unseal(params.get("requestState"))
    return text("state-ok")


def needs_many(params, era):
    given = responses(params)
    if not all(key in given for key in ("user_name", "greeting", "client_roots")):
        requests = {
            "user_name": NAME_FORM,
            "greeting": request_of("sampling/createMessage", sampling("Generate a greeting", 50)),
            "client_roots": request_of("roots/list", {}),
        }
        raise NeedsInput(requests, seal("many"))
    unseal(params.get("requestState"))
    return text("all three came")


def needs_rounds(params, era):
    step = unseal(params["requestState"]) if "requestState" in params else ""
    if step == "" or (step == "step1" and accepted(params, "step1") is None):
        question = form("Step 1: What is your name?", {"name": {"type": "string"}}, ["name"])
        raise NeedsInput({"step1": request_of("elicitation/create", question)}, seal("step1"))
    if step == "step1":
        question = form("Step 2: What is your favorite color?", {"color": {"type": "string"}}, ["color"])
        raise NeedsInput({"step2": request_of("elicitation/create", question)}, seal("step2"))
    return text("both steps were taken")


def needs_capable(params, era):
    offered = params.get("_meta", {}).get(META + "clientCapabilities", {})
    requests = {}
    if "sampling" in offered:
        requests["sample"] = request_of("sampling/createMessage", sampling("Say something"))
    if "elicitation" in offered:
        requests["user_name"] = NAME_FORM
    if not requests:
        return text("nothing to ask with")
    raise NeedsInput(requests)


def fails(params, era):
    return text("This tool intentionally returns an error for testing", isError=True)


def sleeps(params, era):
    time.sleep(params["arguments"].get("seconds", 60))
    return text("awake")


def embedded(params, era):
    resource = {
        "uri": "test://embedded-resource",
        "mimeType": "text/plain",
        "text": "This is an embedded resource content.",
    }
    return {"content": [{"type": "resource", "resource": resource}]}


def echo(params, era):
    given = params["arguments"].get("text", "")
    return text(given, structuredContent={"text": given})


NOTHING = {"type": "object", "properties": {}}
SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def needing(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


TEXT = {"type": "string"}
# Name: what it does, and what it takes.
TOOLS = {
    "test_simple_text": (lambda p, e: text("This is a simple text response for testing."), NOTHING),
    "test_image_content": (
        lambda p, e: {"content": [{"type": "image", "data": PNG, "mimeType": "image/png"}]},
        NOTHING,
    ),
    "test_audio_content": (
        lambda p, e: {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]},
        NOTHING,
    ),
    "test_embedded_resource": (embedded, NOTHING),
    "test_multiple_content_types": (mixed, NOTHING),
    "test_tool_with_logging": (with_logging, NOTHING),
    "test_logging_tool": (with_logging, NOTHING),
    "test_error_handling": (fails, NOTHING),
    "test_tool_with_progress": (with_progress, NOTHING),
    "test_sampling": (with_sampling, needing(prompt=TEXT)),
    "test_elicitation": (with_elicitation, needing(message=TEXT)),
    "test_elicitation_sep1034_defaults": (with_defaults, NOTHING),
    "test_elicitation_sep1330_enums": (with_enums, NOTHING),
    "test_roots": (list_roots, NOTHING),
    "json_schema_2020_12_tool": (lambda p, e: text("valid"), SCHEMA_2020),
    "test_missing_capability": (missing_capability, NOTHING),
    "test_streaming_elicitation": (streaming_elicitation, NOTHING),
    "test_input_required_result_elicitation": (needs_name, NOTHING),
    "test_input_required_result_sampling": (needs_sampling, NOTHING),
    "test_input_required_result_list_roots": (needs_roots, NOTHING),
    "test_input_required_result_request_state": (needs_state, NOTHING),
    "test_input_required_result_multiple_inputs": (needs_many, NOTHING),
    "test_input_required_result_multi_round": (needs_rounds, NOTHING),
    "test_input_required_result_tampered_state": (needs_state, NOTHING),
    "test_input_required_result_capabilities": (needs_capable, NOTHING),
    "test_header_mirror": (
        lambda p, e: text(p["arguments"].get("region", "")),
        {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    ),
    "echo": (echo, {"type": "object", "properties": {"text": TEXT}}),
    "sleep": (sleeps, {"type": "object", "properties": {"seconds": {"type": "number"}}}),
}

# Resources and prompts

RESOURCES = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched."},
}
TEMPLATE = "test://template/{id}/data"


def read_resource(params, era):
    uri = params.get("uri", "")
    if uri in RESOURCES:
        return {"contents": [{"uri": uri, **RESOURCES[uri]}]}
    before, after = TEMPLATE.split("{id}")
    if uri.startswith(before) and uri.endswith(after):
        found = uri[len(before) : -len(after)]
        data = {"id": found, "templateTest": True, "data": f"Data for ID: {found}"}
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}]}
    raise Refusal(-32002, "Resource not found", {"uri": uri})


def user(content):
    return {"role": "user", "content": content}


def prompt_text(words):
    return user({"type": "text", "text": words})


def prompt_resource(given):
    resource = {
        "uri": given.get("resourceUri", "test://example"),
        "mimeType": "text/plain",
        "text": "Embedded resource content for testing.",
    }
    return [user({"type": "resource", "resource": resource}), prompt_text("Please process the embedded resource above.")]


PROMPTS = {
    "test_simple_prompt": ([], lambda given: [prompt_text("This is a simple prompt for testing.")]),
    "test_prompt_with_arguments": (
        ["arg1", "arg2"],
        lambda given: [prompt_text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")],
    ),
    "test_prompt_with_embedded_resource": (["resourceUri"], prompt_resource),
    "test_prompt_with_image": (
        [],
        lambda given: [
            user({"type": "image", "data": PNG, "mimeType": "image/png"}),
            prompt_text("Please analyze the image above."),
        ],
    ),
    "test_input_required_result_prompt": ([], lambda given: [prompt_text("With your context.")]),
}


def get_prompt(params, era):
    name = params.get("name")
    if name not in PROMPTS:
        raise Refusal(-32602, f"Unknown prompt: {name}")
    if name == "test_input_required_result_prompt" and accepted(params, "user_context") is None:
        question = form("What context should the prompt use?", {"context": TEXT}, ["context"])
        raise NeedsInput({"user_context": request_of("elicitation/create", question)})
    return {"messages": PROMPTS[name][1](params.get("arguments", {}))}


def call_tool(params, era):
    name = params.get("name")
    if name not in TOOLS:
        raise Refusal(-32602, f"Unknown tool: {name}")
    try:
        return TOOLS[name][0]({"arguments": {}, **params}, era)
    except RuntimeError as error:
        return text(str(error), isError=True)


def complete(params, era):
    value = params.get("argument", {}).get("value", "")
    values = [word for word in ("paris", "park", "party", "test-1") if word.startswith(value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}


def set_level(params, era):
    global level
    level = params.get("level")
    return {}


def list_tools(params, era):
    return {
        "tools": [
            {"name": name, "description": f"Tests {name}.", "inputSchema": schema}
            for name, (_, schema) in TOOLS.items()
        ]
    }


def list_prompts(params, era):
    return {
        "prompts": [
            {
                "name": name,
                "description": f"Tests {name}.",
                "arguments": [{"name": each, "description": each, "required": True} for each in needed],
            }
            for name, (needed, _) in PROMPTS.items()
        ]
    }


def list_resources(params, era):
    return {
        "resources": [
            {"uri": uri, "name": uri.split("//")[1], "description": f"Tests {uri}.", "mimeType": found["mimeType"]}
            for uri, found in RESOURCES.items()
        ]
    }


def list_templates(params, era):
    template = {"uriTemplate": TEMPLATE, "name": "template", "description": "Tests.", "mimeType": "application/json"}
    return {"resourceTemplates": [template]}


def initialize(params, era):
    return {
        "protocolVersion": params.get("protocolVersion", "2025-11-25"),
        "capabilities": CAPABILITIES,
        "serverInfo": INFO,
        "instructions": "Everything, for tests.",
    }


def discover(params, era):
    return {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "instructions": "Everything, for tests."}


BOTH = {
    "tools/list": list_tools,
    "tools/call": call_tool,
    "resources/list": list_resources,
    "resources/templates/list": list_templates,
    "resources/read": read_resource,
    "prompts/list": list_prompts,
    "prompts/get": get_prompt,
    "completion/complete": complete,
}
NOTED = {"resources/subscribe": lambda p, e: {}, "resources/unsubscribe": lambda p, e: {}}
METHODS = {
    "2025": {
        **BOTH,
        **NOTED,
        "initialize": initialize,
        "ping": lambda p, e: {},
        "logging/setLevel": set_level,
    },
    "2026": {**BOTH, "server/discover": discover},
}


def answer(message):
    params = message.get("params", {})
    era = "2026" if META + "protocolVersion" in params.get("_meta", {}) else "2025"
    handler = METHODS[era].get(message["method"])
    if handler is None:
        raise Refusal(-32601, f"Method not found: {message['method']}")
    result = handler(params, era)
    if era == "2026":
        result = {"resultType": "complete", **result, "_meta": {META + "serverInfo": INFO}}
    return result


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    try:
        send({"id": message["id"], "result": answer(message)})
    except NeedsInput as needed:
        send({"id": message["id"], "result": needed.result})
    except Refusal as refusal:
        send({"id": message["id"], "error": refusal.error})

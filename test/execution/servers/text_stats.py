"""A well-behaved server of two files: what an honest publisher uploads."""

from mcp import serve, structured


def count(arguments):
    text = arguments["text"]
    return structured({"words": len(text.split()), "characters": len(text)})


serve(
    {
        "count": (
            {
                "title": "Count words",
                "description": "Counts the words and characters of a text.",
                "inputSchema": {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
                "outputSchema": {
                    "type": "object",
                    "properties": {"words": {"type": "integer"}, "characters": {"type": "integer"}},
                    "required": ["words", "characters"],
                },
            },
            count,
        )
    }
)

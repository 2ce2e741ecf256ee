"""How an answer is made JSON where a model cannot be held to it: a sentence, or a tool that it has to call.

It never knows which model needs which of them.
"""

JSON_ONLY = "Answer with one JSON object and nothing else: no other text, no code fence."

ANSWER_TOOL = "infron_json_answer"  # the tool whose arguments are the answer; decoders make text of them
ANSWER_BY_TOOL = "Give your whole answer by calling this tool once, with the answer as its arguments."

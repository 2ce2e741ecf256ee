"""Measures the ratios of docs/tokens.md: tokens of each family's own vocabulary for one token of o200k_base.

Run by hand, never by the gateway: `pip install toktok-rs splintr-rs && python docs/tokens.py`.
"""

from __future__ import annotations

import splintr
import toktok  # type: ignore[import-untyped]

# What answers are made of. The last three are for the spread only: they are not in the ratio.
SAMPLES = {
    "prose": """
The tallest building would begin far below the street. Engineers first drill to bedrock and test how the soil settles,
because a tower that leans by a few centimetres at its base leans by metres at its crown. A raft of concrete, poured
in one long night so that it cures without seams, spreads the load over hundreds of piles. Above it rises a core of
lifts and stairs, braced by outriggers to columns at the edge, and the whole form twists and tapers so that the wind
never finds one rhythm to push against. Nobody lives at the very top: the last two hundred metres hold dampers,
antennas and water. I'd budget roughly nine years, $4.2 billion, and a good deal of patience. What would you change
first, if the site were an island?
""",
    "markdown": """
## Three ways to cool a server room

1. **Free air** - cheap below 18 C, needs filters; see [the guide](https://example.org/cooling?id=42).
2. **Chilled water** - about 30 % less power than (3), but leaks are *very* unpleasant.
3. **Direct expansion** - simple; `COP = 3.1` on our test rig.

| option | capital | per year | notes |
|---|---:|---:|---|
| free air | 12,000 | 1,150 | dust |
| chilled water | 48,500 | 3,900 | leaks |

> Measure first. A rack that draws 4.7 kW at noon may draw 2.2 kW at night.
""",
    "code": """
def merge(left: list[int], right: list[int]) -> list[int]:
    \"\"\"Merge two sorted lists into one; the inputs are left alone.\"\"\"
    result, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            result.append(left[i])
            i += 1
        else:
            result.append(right[j])
            j += 1
    return result + left[i:] + right[j:]

export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += new TextDecoder().decode(value, { stream: true });
    for (let end; (end = buffer.indexOf("\\n")) !== -1; buffer = buffer.slice(end + 1)) yield buffer.slice(0, end);
  }
}

SELECT day, SUM(charge) / 1e12 AS usd FROM entry WHERE settled_at >= ? GROUP BY day ORDER BY day DESC LIMIT 30;
""",
    "json": """
{"tool": "book_flight", "arguments": {"from": "LIS", "to": "OSL", "date": "2026-12-04", "passengers": [{"name": "A.
Moreira", "age": 41, "meal": "vegetarian"}, {"name": "J. Moreira", "age": 9, "meal": null}], "max_price": 412.50,
"flexible": true, "request_id": "9f86d081-884c-4d65-9a2f-eaa0c55ad015", "tags": ["family", "window_seat"], "retries":
0}}
""",
    "european": """
Ein Turm dieser Höhe beginnt tief unter der Straße: Zuerst prüfen die Ingenieure, wie sich der Boden setzt, denn was
unten Zentimeter sind, werden oben Meter. Le noyau porte les ascenseurs et les escaliers ; au-delà de six cents
mètres, c'est le vent, et non plus le poids, qui décide de la forme. ¿Quién viviría allí arriba? Nadie: los últimos
doscientos metros guardan agua, antenas y contrapesos. O orçamento seria de quatro mil milhões, e a paciência não tem
preço. Il cantiere durerebbe nove anni.
""",
    "cyrillic": """
Самое высокое здание начинается глубоко под улицей: сначала инженеры проверяют, как оседает грунт, потому что
сантиметры внизу превращаются в метры наверху. Ядро несёт лифты и лестницы, а форму выше шестисот метров определяет
уже не вес, а ветер.
""",
    "cjk": """
最高的建筑从地下很深的地方开始：工程师先检查土壤如何沉降，因为底部的几厘米
到了顶部就会变成几米。六百米以上，决定形状的不再是重量，而是风。
最も高い建物は、通りのはるか下から始まります。
技術者はまず地盤の沈み方を調べます。
가장 높은 건물은 거리 아래 깊은 곳에서 시작됩니다.
""",
    "hindi_arabic": """
सबसे ऊँची इमारत सड़क के बहुत नीचे से शुरू होती है, क्योंकि नीचे के कुछ सेंटीमीटर ऊपर कई मीटर बन जाते हैं। يبدأ أعلى
مبنى في العالم من عمق كبير تحت الشارع، لأن بضعة سنتيمترات في الأسفل تصبح أمتارا في الأعلى.
""",
}
MIX = {"prose": 35, "markdown": 20, "code": 25, "json": 10, "european": 10}  # parts in a hundred, in characters

VOCABULARIES = ("cl100k_base", "llama3", "mistral_v3", "deepseek_v3", "qwen3", "glm4", "kimi_k2", "gemma3", "gemma4")


def main() -> None:
    base = {name: toktok.batch_count([text], "o200k_base")[0] for name, text in SAMPLES.items()}
    counters = {name: splintr.Tokenizer.from_pretrained(name).encode_ordinary for name in VOCABULARIES}
    rows = {name: {kind: len(count(text)) for kind, text in SAMPLES.items()} for name, count in counters.items()}
    rows["qwen3.5"] = {kind: toktok.batch_count([text], "qwen3.5")[0] for kind, text in SAMPLES.items()}
    weight = {kind: share / len(SAMPLES[kind]) for kind, share in MIX.items()}
    whole = sum(base[kind] * weight[kind] for kind in MIX)
    print("| vocabulary | ratio |", " | ".join(SAMPLES), "|")
    for name, counts in rows.items():
        ratio = sum(counts[kind] * weight[kind] for kind in MIX) / whole
        print(f"| {name} | {ratio:.3f} |", " | ".join(f"{counts[kind] / base[kind]:.2f}" for kind in SAMPLES), "|")


if __name__ == "__main__":
    main()

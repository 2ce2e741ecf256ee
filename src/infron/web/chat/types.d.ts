// The shapes that the page's modules share, for the type checker alone: it is not served.

export interface Model {
  id: string;
  name: string;
  context_length: number | null;
  pricing: Record<string, string>;
  architecture: { input_modalities: string[] };
  providers: { provider_slug: string }[];
}

export interface Receipt {
  id: string;
  outcome: string | null;
  model: string;
  provider_name: string | null;
  total_cost: number | null;
  tokens_prompt: number | null;
  tokens_completion: number | null;
  estimated: boolean;
  on_disconnect: string | null;
  upstream_closed_ms: number | null;
  attempts: { provider: string; status: number | null; error_type: string | null }[];
}

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: number;
}

/** One thing that comes of an answer. `head`: its id. */
export type Told =
  | { head: string }
  | { comment: string }
  | { text: string }
  | { thinking: string }
  | { image: string }
  | { usage: Usage }
  | { finish: string }
  | { end: true };

export interface Message {
  role: "user" | "assistant";
  text: string;
  images: string[];
  thinking?: string;
  model?: string;
  /** What is said below an answer. */
  facts?: string[];
  /** What went wrong, or what stopping it has done. */
  trouble?: string;
}

/** Numbers as they were typed. */
export interface Conversation {
  id: string;
  title: string;
  model: string;
  system: string;
  temperature: string;
  maxTokens: string;
  effort: string;
  messages: Message[];
  /** The id of the last generation. */
  last: string;
}

/** What can be done with the message at a place. */
export interface Doing {
  edit: (at: number) => void;
  again: (at: number) => void;
  fork: (at: number) => void;
}

export interface Block {
  kind: "heading" | "text" | "quote" | "code" | "list" | "table" | "rule";
  lines: string[];
  note?: string;
}

export interface Body {
  model: string;
  messages: { role: string; content: any }[];
  max_tokens?: number;
  temperature?: number;
  reasoning?: { effort: string };
  [name: string]: unknown;
}

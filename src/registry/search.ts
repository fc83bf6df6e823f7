/**
 * Which tools are about this? Full-text search over names, titles and descriptions, best match first. What surprises:
 * the index holds every tool of the snapshot and knows nothing of policy: the caller keeps only what may be seen.
 * Words are bounded, since a fuzzy match costs more the longer the word, and so are descriptions, which are upstream's.
 */
import MiniSearch from "minisearch";
import type { Snapshot, Tool } from "../model.ts";

const DESCRIPTION_MAX = 4000;
const WORDS_MAX = 16;
const WORD_MAX = 32;
/** So many at a time, then others have their turn. */
const CHUNK = 200;
/** They occur in every description, and a question is put in plain words. */
const STOP_WORDS = new Set(
  "a an and are as at be by for from in into is it of on or that the this to what which with".split(" "),
);

/** One index per snapshot, built when first asked for and gone with it. */
const indexes = new WeakMap<Snapshot, Promise<MiniSearch<Tool>>>();

/** Ids of matching tools, best first; ties in order of id. */
export async function searchTools(snapshot: Snapshot, query: string): Promise<readonly string[]> {
  const found = (await indexOf(snapshot)).search(wordsOf(query).slice(0, WORDS_MAX).join(" "));
  const ranked = found.map(({ id, score }) => ({ id: String(id), score }));
  return ranked.toSorted((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1)).map(({ id }) => id);
}

function indexOf(snapshot: Snapshot): Promise<MiniSearch<Tool>> {
  let index = indexes.get(snapshot);
  if (index === undefined) indexes.set(snapshot, (index = build(snapshot)));
  return index;
}

async function build(snapshot: Snapshot): Promise<MiniSearch<Tool>> {
  const index = new MiniSearch<Tool>({
    fields: ["name", "title", "description"],
    extractField: textOf,
    tokenize: wordsOf,
    processTerm: (word) => (STOP_WORDS.has(word) ? null : word),
    searchOptions: {
      boost: { name: 3, title: 2 },
      // short words have too many neighbours
      prefix: (word) => word.length > 2,
      fuzzy: (word) => (word.length > 3 ? 0.2 : false),
      maxFuzzy: 2,
    },
  });
  await index.addAllAsync([...snapshot.tools.values()].flat(), { chunkSize: CHUNK });
  return index;
}

function textOf(tool: Tool, field: string): string {
  if (field === "id") return tool.id;
  if (field === "name") return `${tool.name} ${tool.upstreamName}`;
  const value = tool.definition[field];
  return typeof value === "string" ? value.slice(0, DESCRIPTION_MAX) : "";
}

/** `readFile`, `read_file` and `read-file` are the words read and file. */
function wordsOf(text: string): string[] {
  const spaced = text.replaceAll(/(\p{Ll})(\p{Lu})/gu, "$1 $2").toLowerCase();
  return spaced.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== "" && word.length <= WORD_MAX);
}

/** JSON with comments and trailing commas, as editors write it, as plain JSON. */

/** Comments become spaces, so that nothing else changes; what stands in strings stays. */
export function withoutComments(text: string): string {
  const TOKEN = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  const bare = text.replace(/^\ufeff/, "").replaceAll(TOKEN, (token) => (token.startsWith('"') ? token : " "));
  return bare.replaceAll(/"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])/g, (token) => (token === "," ? "" : token));
}

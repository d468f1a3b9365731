/* Runs the graphs of a file: node run.mjs FOLDER. FOLDER has model.mjs, model.wasm, graphs.json and graphs.bin. */
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { load } = await import(pathToFileURL(`${folder}/model.mjs`));
const block = readFileSync(`${folder}/graphs.bin`);
const { graphs, repeats } = JSON.parse(readFileSync(`${folder}/graphs.json`, "utf8"));
const KINDS = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array, int8: Int8Array };
const model = await load(readFileSync(`${folder}/model.wasm`));

const answers = graphs.map((graph) => {
  const given = Object.fromEntries(
    Object.entries(graph).map(([name, value]) => {
      if (typeof value === "number") return [name, value];
      const [kind, start, length] = value;
      return [name, new KINDS[kind](block.buffer.slice(block.byteOffset + start, block.byteOffset + start + length))];
    }),
  );
  try {
    const found = model.run(given);
    const times = [];
    for (let i = 0; i < repeats; ++i) {
      const start = performance.now();
      model.run(given);
      times.push(performance.now() - start);
    }
    const outputs = Object.entries(found).map(([name, array]) => [name, Buffer.from(array.buffer).toString("base64")]);
    return { outputs: Object.fromEntries(outputs), times };
  } catch (error) {
    if (error.name !== "GraphError") throw error;
    return { code: error.code };
  }
});
writeFileSync(`${folder}/answers.json`, JSON.stringify(answers));

/* Written by edgegnn: runs model.wasm in a browser or in Node.js. Types and examples are in model.d.ts. */

export const info = $info;

const ARRAYS = { float: Float32Array, double: Float64Array, int32: Int32Array, uint8: Uint8Array, int8: Int8Array };
const REFUSED = {
  1: "an array is missing",
  2: `the graph has no nodes, or more than ${info.maxNodes} (or another number than the model is for)`,
  3: `the graph has more than ${info.maxEdges} edges`,
  4: "an index is out of range: edge_index has to be at least 0 and less than the number of nodes",
  5: "the model has no answer for this graph: sizes inside it don't fit, or a position is no finite number",
};

export class GraphError extends Error {
  constructor(code) {
    super(REFUSED[code] ?? `the graph was refused with the code ${code}`);
    this.name = "GraphError";
    this.code = code;
  }
}

export async function load(source = new URL("model.wasm", import.meta.url)) {
  const made = await WebAssembly.instantiate(await bytesOf(source), {});
  return new Model((made.instance ?? made).exports);
}

async function bytesOf(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source) || source instanceof WebAssembly.Module) return source;
  if (typeof Response !== "undefined" && source instanceof Response) return contentOf(source);
  const url = new URL(source, import.meta.url);
  if (url.protocol === "file:" && globalThis.process?.versions?.node) {
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
    return readFile(url);
  }
  return contentOf(await fetch(url));
}

async function contentOf(response) {
  if (!response.ok) throw new Error(`model.wasm can't be loaded: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

export class Model {
  #run;
  #memory;
  #start;

  constructor(exports) {
    this.#run = exports[info.function];
    this.#memory = exports.memory;
    this.#start = exports.__heap_base.value;
  }

  run(graph) {
    const sizes = sizesOf(graph);
    let end = this.#start;
    const place = (bytes) => {
      const start = Math.ceil(end / 16) * 16;
      end = start + bytes;
      return start;
    };
    const given = info.inputs.map((input) => typed(input, graph[input.name]));
    const arena = place(info.arenaBytes);
    const inputs = given.map((array) => place(array.byteLength));
    const counts = info.outputs.map((output) => elements(output, sizes));
    const outputs = info.outputs.map((output, i) => place(counts[i] * ARRAYS[output.type].BYTES_PER_ELEMENT));
    const words = [...info.sizes.map((name) => sizes[name]), ...inputs, ...outputs];
    const structure = place(4 * words.length);
    const missing = end - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / 65536));
    const buffer = this.#memory.buffer;
    given.forEach((array, i) => new array.constructor(buffer, inputs[i], array.length).set(array));
    new Int32Array(buffer, structure, words.length).set(words);
    const code = this.#run(structure, structure + 4 * (info.sizes.length + inputs.length), arena);
    if (code !== 0) throw new GraphError(code);
    const found = info.outputs.map((output, i) => [
      output.name,
      new ARRAYS[output.type](buffer, outputs[i], counts[i]).slice(),
    ]);
    return Object.fromEntries(found);
  }
}

function sizesOf(graph) {
  const sizes = {};
  const put = (name, value, from) => {
    if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) throw new RangeError(`${from} has a wrong number of elements`);
    if (name in sizes && sizes[name] !== value) throw new RangeError(`${from} says ${name} ${value}, the rest of the graph ${sizes[name]}`);
    sizes[name] = value;
  };
  for (const name of info.sizes) if (graph[name] !== undefined) put(name, graph[name], name);
  for (const input of info.inputs) {
    const array = graph[input.name];
    if (array === undefined) throw new TypeError(`the graph has no ${input.name}: it needs ${info.inputs.map((i) => i.name).join(", ")}`);
    const free = input.shape.filter((size) => typeof size === "string" && !(size in sizes));
    const known = input.shape.reduce((all, size) => all * (typeof size === "number" ? size : sizes[size] ?? 1), 1);
    if (free.length === 1 && known > 0) put(free[0], array.length / known, input.name);
    else if (free.length === 0 && array.length !== known) throw new RangeError(`${input.name} has ${array.length} elements, not ${known}`);
  }
  for (const name of info.sizes) {
    if (name in sizes) continue;
    if (name in info.fixed) sizes[name] = info.fixed[name];
    else if (info.needed.includes(name)) throw new TypeError(`no input says ${name}: give it as a number of that name`);
    else sizes[name] = 0;
  }
  return sizes;
}

function elements(tensor, sizes) {
  return tensor.shape.reduce((all, size) => all * (typeof size === "number" ? size : sizes[size]), 1);
}

function typed(input, values) {
  const Kind = ARRAYS[input.type];
  if (values instanceof Kind) return values;
  const array = Kind.from(values, Number);
  if (input.type === "int32" && array.some((value, i) => value !== Number(values[i]))) {
    throw new RangeError(`${input.name} has a number that is no integer of 32 bits`);
  }
  return array;
}

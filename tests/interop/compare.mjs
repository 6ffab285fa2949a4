// What the checks share: results of our tool, and comparisons that print a line each.
import fs from 'node:fs';
import path from 'node:path';
import { env } from '@huggingface/transformers';

const MAX_DIFFERENCE = 1e-3;  // fp32: two versions of ONNX Runtime, two implementations of preprocessing
const MIN_COSINE = 0.99;      // 8-bit integers against fp32

let failed = 0;

/** Nothing but the folders that lie here is opened. */
export function openOnly(models) {
    env.allowRemoteModels = false;
    env.useFSCache = false;
    env.localModelPath = models;
}

/** What our tool wrote, a JSON object a line. */
export const lines = file => fs.readFileSync(file, 'utf8').trim().split('\n').map(line => JSON.parse(line));

export function check(what, passed, detail) {
    console.log(`${passed ? 'PASS' : 'FAIL'}  ${what}: ${detail}`);
    if (!passed) failed++;
}

export function close(what, difference, detail) {
    check(what, difference <= MAX_DIFFERENCE, `largest difference ${difference.toExponential(1)} ${detail}`);
}

/** Token ids of the tool's rows against those of a tokenizer. */
export function sameTokens(what, rows, encode) {
    const wrong = rows.map(row => ({ ...row, found: encode(row.text) })).filter(row => String(row.found) !== String(row.input_ids));
    check(what, rows.length > 0 && wrong.length === 0, `${rows.length - wrong.length} of ${rows.length} texts`
        + wrong.map(row => `; '${row.text}' ${row.found}, expected ${row.input_ids}`).join(''));
}

const unit = row => { const length = Math.hypot(...row); return row.map(value => value / length); };
const cosine = (a, b) => unit(a).reduce((sum, value, i) => sum + value * unit(b)[i], 0);
const furthest = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

/** Rows of any length against embeddings of length 1. */
export function compare(what, dtype, expected, found) {
    if (expected.length === 0 || found.length !== expected.length || found.some((row, i) => row.length !== expected[i].length))
        throw new Error(`${what}: ${found.length} embeddings, expected ${expected.length} of the same width`);
    if (dtype === 'fp32') {
        close(`${what}, ${dtype}`, Math.max(...expected.map((row, i) => furthest(row, unit(found[i])))), `of ${found.length}`);
    } else {
        const least = Math.min(...expected.map((row, i) => cosine(row, found[i])));
        check(`${what}, ${dtype}`, least >= MIN_COSINE, `least cosine with fp32 ${least.toFixed(5)} of ${found.length}`);
    }
}

export const exitCode = () => failed === 0 ? 0 : 1;

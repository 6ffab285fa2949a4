// Opens exported encoders of one sense in the pipelines that are made for them: encoders.mjs FOLDER_OF_MODELS RESULTS
import path from 'node:path';
import { AutoTokenizer, pipeline } from '@huggingface/transformers';
import { compare, exitCode, lines, openOnly, sameTokens } from './compare.mjs';

const [models, results] = process.argv.slice(2);
openOnly(models);
const texts = lines(path.join(results, 'text-embeddings.json')), pictures = lines(path.join(results, 'image-embeddings.json'));

const tokenizer = await AutoTokenizer.from_pretrained('text');
sameTokens('token ids, text encoder', lines(path.join(results, 'text-tokens.json')), text => tokenizer.encode(text));
for (const dtype of ['fp32', 'q8', 'int8']) {
    const extract = await pipeline('feature-extraction', 'text', { dtype });
    const found = await extract(texts.map(row => row.input), { pooling: 'mean', normalize: true });
    compare('feature-extraction', dtype, texts.map(row => row.embedding), found.tolist());

    const see = await pipeline('image-feature-extraction', 'image', { dtype });
    const tokens = (await see(pictures.map(row => row.input))).tolist(); // the first token stands for all
    compare('image-feature-extraction', dtype, pictures.map(row => row.embedding), tokens.map(row => row[0]));
}
process.exitCode = exitCode();

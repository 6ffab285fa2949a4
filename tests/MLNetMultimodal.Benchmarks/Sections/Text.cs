using System.Text;
using Microsoft.ML;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Many short texts, and the tokenizer alone.</summary>
static class Text
{
    const float Tolerance = 1e-3f;
    const string Ours = "MultimodalEmbed", OursAlone = "MultimodalModel", OneByOne = "one text at a time",
        Theirs = "Transformers.js, batch 32", OurTokenizer = "TextTokenizer", TheirTokenizer = "@huggingface/tokenizers";

    public static void Measure(BenchmarkRun run)
    {
        int threads = Environment.ProcessorCount;
        using Worker node = Programs.Node(run, threads);
        string folder = ModelFolders.SmallClip(run);
        node.Ask(new { op = "load", model = ModelFolders.Export(run, folder), threads, images = false });
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = folder, Text = nameof(TextRow.Text) });
        MultimodalModel model = embed.Model;
        string[] texts = Captions.Take(run.Size(10_000, 100)), single = texts[..run.Size(2_000, 50)];

        float[][] all = Rows.Read(embed.Transform(Rows.Texts(ml, texts)));
        string[] few = texts[..64];
        Agreement.Require(run, "embeddings, against Transformers.js", all[..64],
            Node.Embeds(node, new { op = "texts", texts = few, batch = 32 }), Tolerance);
        Agreement.Require(run, "embeddings, against one text at a time", all[..64],
            [.. few.Select(t => model.EmbedTexts([t])[0])], Tolerance);
        Agreement.RequireEqual(run, "token ids, against @huggingface/tokenizers", Captions.Ids(model.Texts, texts),
            Node.Ids(node, texts, "plainTokens"));

        Alternation rates = Alternation.Run(run, 3, 120, "texts/s",
            new(Ours, () => Alternation.Rate(texts.Length, () => Rows.Read(embed.Transform(Rows.Texts(ml, texts))))),
            new(Theirs, () => node.Rate(texts.Length, new { op = "texts", texts, batch = 32, silent = true })),
            new(OneByOne, () => Alternation.Rate(single.Length, () =>
            {
                foreach (string text in single) model.EmbedTexts([text]);
            })));
        run.Add(rates.Compare($"{texts.Length:n0} short texts, tokenised and embedded", Ours, Theirs));
        run.Add(rates.Compare($"{texts.Length:n0} short texts, tokenised and embedded", Ours, OneByOne));

        Prompts(run, node, folder);

        double megabytes = texts.Sum(t => (long)Encoding.UTF8.GetByteCount(t)) / 1e6;
        int repeats = run.Size(10, 1);
        void Tokenize()
        {
            for (int i = 0; i < repeats; i++)
                foreach (string text in texts) model.Texts.Encode(text);
        }
        Alternation tokens = Alternation.Run(run, 5, 30, "MB/s",
            new(OurTokenizer, () => Alternation.Rate(repeats * megabytes, Tokenize)),
            new(TheirTokenizer, () => node.Rate(megabytes, new { op = "tokenize", texts })));
        run.Add(tokens.Compare("tokenising alone, CLIP's vocabulary, one thread", OurTokenizer, TheirTokenizer));
        run.Note($"A text tower of 4 layers and width 256 with random weights, fp32, {threads} threads; no two texts are alike.");
    }

    /// <summary>What a zero-shot classifier embeds.</summary>
    static void Prompts(BenchmarkRun run, Worker node, string folder)
    {
        ZeroShotPrompts words = ZeroShotPrompts.Load(Path.Combine(Repository.Root, "samples", "TrainFashion", "prompts"));
        string[] labels = Captions.Labels[..run.Size(Captions.Labels.Length, 10)];
        string[] prompts =
            [.. labels.SelectMany(label => words.Templates.Select(t => t.Replace("{}", label, StringComparison.Ordinal)))];
        using MultimodalModel model = MultimodalModel.Load(folder, new() { Mode = InferenceMode.Throughput });
        Agreement.Require(run, "prompts, against Transformers.js", model.EmbedTexts(prompts),
            Node.Embeds(node, new { op = "texts", texts = prompts, batch = 32 }), Tolerance);
        Alternation rates = Alternation.Run(run, 7, 60, "texts/s",
            new(OursAlone, () => Alternation.Rate(prompts.Length, () => model.EmbedTexts(prompts))),
            new(Theirs, () => node.Rate(prompts.Length, new { op = "texts", texts = prompts, batch = 32, silent = true })));
        run.Add(rates.Compare($"prompts of {words.Templates.Count} templates and {labels.Length} labels", OursAlone, Theirs));
    }
}

using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.Parity.Tests;

public sealed class ClipParityTests
{
    /// <summary>Two float32 implementations of the same sums, over values of order 1.</summary>
    const double AbsoluteTolerance = 2e-5, RelativeTolerance = 2e-5;

    public static TheoryData<string> Configs => ["tiny", "small28", "end token"];

    [Theory, MemberData(nameof(Configs))]
    public void All_engines_agree(string config)
    {
        ClipConfig c = config switch
        {
            "tiny" => ClipConfig.Tiny,
            "small28" => ClipConfig.Small32(vocabularySize: 60),
            _ => ClipConfig.Tiny with { Text = ClipConfig.Tiny.Text with { EndTokenId = 3 } },
        };
        var model = new ClipModel(c);
        using TorchModel created = TorchModel.Create(model.Full, seed: 4);
        IReadOnlyDictionary<string, TensorData> weights = created.ToWeights();
        var random = new Random(5);
        int size = c.Vision.ImageSize, length = c.Text.ContextLength - 1;
        float[] pixels = [.. Enumerable.Range(0, 3 * 3 * size * size).Select(_ => random.NextSingle() * 2 - 1)];
        long[] ids = [.. Enumerable.Range(0, 4 * length).Select(_ => (long)random.Next(c.Text.VocabularySize))];
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From(pixels, 3, 3, size, size),
            ["input_ids"] = TensorData.From(ids, 4, length),
        };
        // The towers compute one token in their last block, the whole model all.
        var full = created.Run(model.Full, inputs);
        foreach (IProgram program in model.Encoders.Values)
            foreach (var (name, value) in created.Run(program, inputs))
                Difference.Check($"{name} alone", full[name].ToSingles(), value.ToSingles(), AbsoluteTolerance, RelativeTolerance);
        foreach (IProgram program in model.Encoders.Values.Append(model.Full))
        {
            var expected = created.Run(program, inputs);
            foreach (string engine in Engines.All)
                foreach (var (name, value) in Engines.Get(engine).Run(program, weights, inputs))
                    Difference.Check($"{engine}: {name}", expected[name].ToSingles(), value.ToSingles(), AbsoluteTolerance, RelativeTolerance);
        }
    }

    [Fact]
    public void All_engines_compute_what_texts_begin_with_alike_once()
    {
        const int length = 5, start = 1, end = 49;
        var model = new ClipModel(ClipConfig.Tiny);
        var text = (ICausalTextProgram)model.Encoders[Modality.Text];
        using TorchModel created = TorchModel.Create(model.Full, seed: 4);
        IReadOnlyDictionary<string, TensorData> weights = created.ToWeights();
        TensorData ids = TensorData.From((long[])[start, 5, 6, end, end, start, 5, 7, 8, end, start, 9, end, end, end], 3, length);
        TensorData expected = created.Run(text, new Dictionary<string, TensorData> { ["input_ids"] = ids })["text_embeds"];
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_ids"] = ids,
            [ICausalTextProgram.FirstInput] = TensorData.From((long[])[0, 1, 2, 3, 7, 8, 9, 11, 12], 9),
            [ICausalTextProgram.OfInput] = TensorData.From((long[])[0, 1, 2, 3, 3, 0, 1, 4, 5, 6, 0, 7, 8, 8, 8], 3, length),
        };
        foreach (string engine in Engines.All)
            Difference.Check($"{engine}: text_embeds", expected.ToSingles(),
                Engines.Get(engine).Run(text.SharingPrefixes, weights, inputs)["text_embeds"].ToSingles(), AbsoluteTolerance, RelativeTolerance);
    }
}

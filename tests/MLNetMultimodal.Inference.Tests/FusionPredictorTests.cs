using System.Text;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class FusionPredictorTests : IDisposable
{
    readonly string _root = Directory.CreateTempSubdirectory("fusion-predictor-tests-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    string Folder(Func<CrossModalFusionConfig, CrossModalFusionConfig>? change = null)
    {
        TextTokenizer texts = ByteLevelBpeTrainer.Train(["a red cat", "a blue dog"], new() { VocabularySize = 520, ContextLength = 8 });
        CrossModalFusionConfig config = CrossModalFusionConfig.Tiny;
        config = config with { Text = config.Text! with { VocabularySize = texts.VocabularySize, EndTokenId = texts.EndId } };
        if (change is not null) config = change(config);
        var model = new CrossModalFusionModel(config);
        string folder = Path.Combine(_root, Path.GetRandomFileName());
        Directory.CreateDirectory(folder);
        var random = new Random(5);
        Safetensors.Write(Path.Combine(folder, "model.safetensors"), ModelSummary.Of(model.Full).Parameters.Select(p => KeyValuePair.Create(p.Name,
            TensorData.From([.. Enumerable.Range(0, (int)p.Count).Select(_ => random.NextSingle() - (p.Name.EndsWith("scale", StringComparison.Ordinal) ? -0.5f : 0.5f))],
                [.. p.Shape.Select(d => (long)d)]))));
        var preprocessing = new FusionPreprocessing(config, ImagePreprocessing.Clip(8), texts,
            AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Ast(16) with { LogMel = LogMelConfig.Kaldi(melBins: 16) }));
        foreach (var (name, content) in preprocessing.ToFiles().Append(("config.json", Encoding.UTF8.GetBytes(model.ToConfigJson()))))
            File.WriteAllBytes(Path.Combine(folder, name), content.ToArray());
        return folder;
    }

    static FusionRow[] Rows(FusionPreprocessing p) =>
    [
        p.Row(new(8, 8, [.. Enumerable.Range(0, 192).Select(i => (byte)i)]), "a red cat", new Waveform([.. Enumerable.Range(0, 4000).Select(i => MathF.Sin(i / 9f))], 16_000), [1, 2, 3]),
        p.Row(text: "a blue dog"), p.Row(numbers: [float.NaN, 5, float.NegativeInfinity]), p.Row(),
    ];

    [Fact]
    public void Rows_together_and_one_by_one_are_predicted_alike_and_explained()
    {
        using FusionPredictor predictor = FusionPredictor.Load(Folder(), new() { Threads = 1 });
        FusionRow[] rows = Rows(predictor.Preprocessing);
        float[][] together = predictor.Predict(rows);
        FusionExplanation[] explained = predictor.Explain(rows);
        for (int i = 0; i < rows.Length; i++)
        {
            Assert.Equal(1, together[i].Sum(), 1e-5);
            float[] alone = predictor.Predict([rows[i]])[0];
            for (int c = 0; c < alone.Length; c++)
            {
                Assert.Equal(together[i][c], alone[c], 1e-5);
                Assert.Equal(together[i][c], explained[i].Scores[c], 1e-5);
            }
            Assert.Equal(1, explained[i].Attention.Sum(), 1e-5);
        }
        Assert.Empty(predictor.Predict([]));
        // What is missing gets no attention: of the second row only its text and the token that is always there do.
        FusionTokens text = predictor.Model.Tokens[1];
        Assert.Equal(1, explained[1].Attention[0] + explained[1].Attention.Skip(text.First).Take(rows[1].Tokens!.Count).Sum(), 1e-5);
        Assert.Equal(["none", "image", "image 0,0", "image 0,1"], predictor.TokenNames.Take(4));
        Assert.Equal(["audio", "audio", "audio 0,0", "audio 0,1", "audio 1,0", "audio 1,1", "x", "y", "z"], predictor.TokenNames.Skip(14));
        Assert.Equal(predictor.Model.TokenCount, predictor.TokenNames.Count);
    }

    [Fact]
    public void An_exported_folder_runs_in_any_ONNX_runtime_to_the_same_scores()
    {
        string folder = Folder(c => c with { Bottleneck = c.Bottleneck with { Experts = 3 } }), exported = Path.Combine(_root, "exported");
        using (MultimodalModel model = MultimodalModel.Load(folder))
            Assert.Equal(["config.json", "onnx/model.onnx", "processor_config.json", "tokenizer.json", "tokenizer_config.json"], OnnxExport.Write(model, exported, OnnxDtype.Fp32));
        using FusionPredictor predictor = FusionPredictor.Load(folder, new() { Threads = 1 });
        FusionRow[] rows = Rows(predictor.Preprocessing);
        using var session = new Microsoft.ML.OnnxRuntime.InferenceSession(Path.Combine(exported, "onnx", "model.onnx"));
        var inputs = predictor.Preprocessing.ToTensors(rows).Select(i => i.Value.Type == DType.F32
            ? Microsoft.ML.OnnxRuntime.NamedOnnxValue.CreateFromTensor(i.Key, new Microsoft.ML.OnnxRuntime.Tensors.DenseTensor<float>(i.Value.ToSingles(), [.. i.Value.Shape.Select(d => (int)d)]))
            : Microsoft.ML.OnnxRuntime.NamedOnnxValue.CreateFromTensor(i.Key, new Microsoft.ML.OnnxRuntime.Tensors.DenseTensor<long>(i.Value.ToInt64s(), [.. i.Value.Shape.Select(d => (int)d)])));
        using var outputs = session.Run([.. inputs]);
        float[] got = [.. outputs.Single(o => o.Name == "scores").AsEnumerable<float>()], wanted = [.. predictor.Predict(rows).SelectMany(s => s)];
        for (int i = 0; i < wanted.Length; i++) Assert.Equal(wanted[i], got[i], 1e-5);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        string folder = Folder();
        using (FusionPredictor predictor = FusionPredictor.Load(folder))
            Assert.Contains("numbers has 2 values, but the model takes 3", Assert.Throws<ArgumentException>(() => predictor.Preprocessing.Row(numbers: [1, 2])).Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(folder, "processor_config.json"));
        Assert.Contains("the model takes pictures, but there is no processor_config.json", Assert.Throws<InvalidDataException>(() => FusionPredictor.Load(folder)).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "processor_config.json"), $$"""{"image_processor": {{ImagePreprocessing.Clip(16).ToJson()}}}""");
        Assert.Contains("makes pictures of 16x16, but the model takes 8x8", Assert.Throws<InvalidDataException>(() => FusionPredictor.Load(folder)).Message, StringComparison.Ordinal);
        string clip = Path.Combine(_root, "clip");
        Directory.CreateDirectory(clip);
        File.WriteAllText(Path.Combine(clip, "config.json"), ClipConfig.Tiny.ToJson());
        Assert.Contains("is a 'clip', which does not predict", Assert.Throws<NotSupportedException>(() => FusionPredictor.Load(clip)).Message, StringComparison.Ordinal);
    }
}

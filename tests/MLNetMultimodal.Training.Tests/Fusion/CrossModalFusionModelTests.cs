using Microsoft.ML;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training.Tests;

public sealed class CrossModalFusionModelTests : IDisposable
{
    readonly MLContext _ml = new(seed: 1);
    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Variants => ["plain", "experts", "gated", "pooled"];

    static CrossModalFusionConfig Config(string variant)
    {
        CrossModalFusionConfig tiny = CrossModalFusionConfig.Tiny;
        return variant switch
        {
            "experts" => tiny with { Bottleneck = tiny.Bottleneck with { Experts = 2, ChosenExperts = 2 } },
            "gated" => tiny with { Bottleneck = tiny.Bottleneck with { Gated = true, Rank = 4 }, AdapterWidth = 4, Task = FusionTask.Regression, Labels = [] },
            "pooled" => tiny with { Pooling = FusionPooling.Attention },
            _ => tiny,
        };
    }

    [Theory, MemberData(nameof(Variants))]
    public void A_gradient_reaches_every_weight(string variant)
    {
        var definition = new CrossModalFusionModel(Config(variant));
        using TorchModel model = TorchModel.Create(definition.Full, seed: 2);
        using DisposeScope scope = NewDisposeScope();
        using (no_grad())
            foreach (var (name, value) in model.Parameters)
                if (name.EndsWith("gate", StringComparison.Ordinal)) value.fill_(0.5f); // a shut gate lets none through
        var inputs = new Dictionary<string, Tensor>();
        using var generator = new Generator(3, CPU);
        foreach (TensorSpec spec in definition.Full.Inputs)
        {
            long[] shape = [4, .. spec.Shape.Skip(1).Select(d => d.IsKnown ? (long)d.Size : 8)];
            inputs[spec.Name] = spec.Type == ElementType.Float32 ? randn(shape, generator: generator)
                : spec.Name == "input_ids" ? arange(32, ScalarType.Int64).reshape(4, 8) : ones(shape, ScalarType.Int64);
        }
        Tensor[] outputs = [.. definition.Learner.Run(model.Ops(), inputs).Select(o => o.Value)];
        outputs.Select(o => o.square().sum()).Aggregate((a, b) => a + b).backward();
        string[] unreached = [.. model.Parameters.Where(p => !FusionTraining.Constants.Contains(p.Key)
            && (p.Value.grad is null || p.Value.grad.abs().max().item<float>() == 0)).Select(p => p.Key)];
        // Softmax does not see what all its scores share; tokens that the data does not have are not looked up.
        Assert.True(unreached.All(n => n.EndsWith("k_proj.bias", StringComparison.Ordinal) || n.EndsWith("key.bias", StringComparison.Ordinal)),
            $"no gradient reaches {string.Join(", ", unreached)}");
    }

    [Fact]
    public void Towers_of_a_CLIP_are_taken_over_and_may_stay_as_they_are()
    {
        string clip = _folder.At("clip");
        using (_folder.Fit(TrainerFolder.Short with { Output = clip }, _folder.View(16, seed: 1)))
        {
        }
        MixedRow[] rows = MixedRows.Make(32, seed: 1);
        IDataView data = MixedRows.Keyed(_ml, rows);
        CrossModalFusionOptions options = MixedRows.Options with
        {
            Image = "Image",
            Text = "Text",
            Initialize = clip,
            TowerLearningRate = 0,
            AdapterWidth = 4,
            Epochs = 2,
            Configure = c => c,
        };
        using ModelWeights before = ModelFiles.FromFolder(clip).OpenWeights();
        using FusionTransformer frozen = _ml.MulticlassClassification.Trainers.CrossModalFusion(options).Fit(data);
        using FusionTransformer tuned = _ml.MulticlassClassification.Trainers.CrossModalFusion(options with { TowerLearningRate = 1 }).Fit(data);
        using ModelWeights after = frozen.Model.Files.OpenWeights(), moved = tuned.Model.Files.OpenWeights();
        string[] towers = [.. after.Keys.Where(n => n.StartsWith("vision_model.", StringComparison.Ordinal) || n.StartsWith("text_model.", StringComparison.Ordinal))];
        Assert.True(towers.Length > 30, $"{towers.Length} weights of towers");
        Assert.All(towers, name => Assert.Equal(before[name].ToSingles(), after[name].ToSingles()));
        Assert.Contains(towers, name => !before[name].ToSingles().AsSpan().SequenceEqual(moved[name].ToSingles()));
        Assert.Equal(8, frozen.Model.Model.Config.Vision!.ImageSize);
    }

    [Fact]
    public void A_model_of_another_family_is_refused_by_name()
    {
        string folder = _folder.At("ast");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), AstConfig.Tiny.ToJson());
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(8, seed: 1));
        CrossModalFusionOptions options = MixedRows.Options with { Text = "Text", Initialize = folder };
        var e = Assert.Throws<NotSupportedException>(() => _ml.MulticlassClassification.Trainers.CrossModalFusion(options).Fit(data));
        Assert.Contains("a 'audio-spectrogram-transformer'; a CLIP is wanted", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tower_of_sounds_is_taken_over_too()
    {
        string folder = _folder.At("ast");
        var ast = new AstModel(CrossModalFusionConfig.Tiny.Audio! with { Frames = 16, MelBins = 32 });
        using (TorchModel model = TorchModel.Create(ast.Full, seed: 5))
        {
            Directory.CreateDirectory(folder);
            File.WriteAllText(Path.Combine(folder, "config.json"), ast.ToConfigJson());
            File.WriteAllText(Path.Combine(folder, "preprocessor_config.json"), Media.Audio.AudioPreprocessing.FromSpectrogram(MixedRows.Options.Spectrogram).ToJson());
            using FileStream stream = File.Create(Path.Combine(folder, "model.safetensors"));
            Safetensors.Write(stream, model.ToWeights());
        }
        CrossModalFusionOptions options = MixedRows.Options with { Audio = "Sound", InitializeAudio = folder, TowerLearningRate = 0, Epochs = 1 };
        using FusionTransformer fused = _ml.MulticlassClassification.Trainers.CrossModalFusion(options).Fit(MixedRows.Keyed(_ml, MixedRows.Make(16, seed: 1)));
        using ModelWeights before = ModelFiles.FromFolder(folder).OpenWeights(), after = fused.Model.Files.OpenWeights();
        Assert.All(before.Keys, name => Assert.Equal(before[name].ToSingles(), after[$"audio_model.{name}"].ToSingles()));
    }
}

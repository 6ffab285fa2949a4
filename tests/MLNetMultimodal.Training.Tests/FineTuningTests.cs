using System.Text;
using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;

namespace MLNetMultimodal.Training.Tests;

public sealed class FineTuningTests : IDisposable
{
    readonly TrainerFolder _folder = new();
    readonly IDataView _train;
    readonly ContrastiveOptions _tuning;

    public FineTuningTests()
    {
        _train = _folder.View(26, seed: 3);
        _folder.Fit(TrainerFolder.Short with { Epochs = 1, Output = _folder.At("base") }, _train).Dispose();
        _tuning = TrainerFolder.Short with { Initialize = _folder.At("base"), Epochs = 2, LearningRate = 1e-2, EmaDecay = 0 };
    }

    public void Dispose() => _folder.Dispose();

    Dictionary<string, float[]> WeightsOf(string folder)
    {
        using ModelWeights weights = ModelFiles.FromFolder(_folder.At(folder)).OpenWeights();
        return weights.ToDictionary(w => w.Key, w => w.Value.ToSingles());
    }

    /// <summary>Names of the weights that a training changed.</summary>
    string[] Changed(FineTuningOptions options, ContrastiveOptions? tuning = null)
    {
        _folder.Fit((tuning ?? _tuning) with { FineTuning = options, Output = _folder.At("tuned") }, _train).Dispose();
        Dictionary<string, float[]> before = WeightsOf("base"), after = WeightsOf("tuned");
        return [.. before.Keys.Where(n => !before[n].AsSpan().SequenceEqual(after[n]))];
    }

    static bool IsImage(string name) => name.StartsWith("vision_model.", StringComparison.Ordinal) || name.StartsWith("visual_projection.", StringComparison.Ordinal);

    static bool IsText(string name) => name.StartsWith("text_", StringComparison.Ordinal);

    [Theory, InlineData(null), InlineData(3)]
    public void A_frozen_tower_stays_as_it_is(int? microBatch)
    {
        ContrastiveOptions tuning = _tuning with { MicroBatchSize = microBatch };
        string[] changed = Changed(new() { Frozen = FrozenTowers.Image }, tuning);
        Assert.DoesNotContain(changed, IsImage);
        Assert.Contains("text_projection.weight", changed);
        Assert.Contains("logit_scale", changed);
        Assert.Contains(changed, n => n.StartsWith("text_model.encoder.layers.0.", StringComparison.Ordinal));
        changed = Changed(new() { Frozen = FrozenTowers.Text }, tuning);
        Assert.DoesNotContain(changed, IsText);
        Assert.Contains(changed, n => n.StartsWith("vision_model.embeddings.", StringComparison.Ordinal));
    }

    [Fact]
    public void Heads_are_what_comes_after_the_last_block()
    {
        string[] heads =
        [
            "logit_scale", "text_model.final_layer_norm.bias", "text_model.final_layer_norm.weight", "text_projection.weight",
            "vision_model.post_layernorm.bias", "vision_model.post_layernorm.weight", "visual_projection.weight",
        ];
        Assert.Equal(heads, Changed(new() { Frozen = FrozenTowers.AllButHeads }).Order(StringComparer.Ordinal));
        Assert.Equal(heads, Changed(new() { LastLayers = 0 }).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void The_last_layers_alone_can_be_trained()
    {
        string[] changed = Changed(new() { LastLayers = 1 });
        Assert.Contains(changed, n => n.StartsWith("vision_model.encoder.layers.1.", StringComparison.Ordinal));
        Assert.Contains(changed, n => n.StartsWith("text_model.encoder.layers.1.", StringComparison.Ordinal));
        Assert.DoesNotContain(changed, n => n.Contains(".layers.0.", StringComparison.Ordinal) || n.Contains(".embeddings.", StringComparison.Ordinal));
    }

    [Fact]
    public void Rates_fall_from_block_to_block()
    {
        var definition = new ClipModel(ClipConfig.Tiny);
        using TorchModel model = TorchModel.Create(definition.Full, seed: 1);
        Dictionary<string, double> rates = TrainableParameters.Select(definition, model, new() { LayerDecay = 0.5 }).ToDictionary(p => p.Name, p => p.Rate);
        Assert.Equal(model.Specs.Count, rates.Count);
        Assert.Equal(1, rates["logit_scale"]);
        Assert.Equal(1, rates["visual_projection.weight"]);
        Assert.Equal(1, rates["vision_model.post_layernorm.weight"]);
        Assert.Equal(0.5, rates["vision_model.encoder.layers.1.mlp.fc1.weight"]);
        Assert.Equal(0.25, rates["text_model.encoder.layers.0.self_attn.q_proj.bias"]);
        Assert.Equal(0.125, rates["text_model.embeddings.token_embedding.weight"]);
        Assert.Equal(0.125, rates["vision_model.pre_layrnorm.weight"]);
    }

    [Fact]
    public void Adapters_change_only_the_layers_they_are_for_and_are_saved_as_Peft_reads_them()
    {
        var lora = new LoraConfig { Rank = 3, Alpha = 6, Dropout = 0.1, Targets = ["q_proj", "v_proj", "text_model.encoder.layers.1.mlp.fc1"] };
        string[] changed = Changed(new() { Lora = lora });
        Assert.Equal(2 * 2 * 2 + 1, changed.Length);
        Assert.All(changed, n => Assert.True(n.EndsWith(".weight", StringComparison.Ordinal) && lora.Adapts(n[..^7]), n));

        using var config = JsonDocument.Parse(File.ReadAllBytes(_folder.At("tuned/adapter/adapter_config.json")));
        Assert.Equal("LORA", config.RootElement.GetProperty("peft_type").GetString());
        Assert.Equal(3, config.RootElement.GetProperty("r").GetInt32());
        Assert.Equal(6, config.RootElement.GetProperty("lora_alpha").GetDouble());
        Assert.Equal(_folder.At("base"), config.RootElement.GetProperty("base_model_name_or_path").GetString());
        using var stored = Safetensors.Open(_folder.At("tuned/adapter/adapter_model.safetensors"));
        Assert.Equal(2 * 9, stored.Count);
        Assert.Equal([3L, 16], stored["base_model.model.text_model.encoder.layers.1.mlp.fc1.lora_A.weight"].Shape);
        Assert.Equal([32L, 3], stored["base_model.model.text_model.encoder.layers.1.mlp.fc1.lora_B.weight"].Shape);

        // The model that was written is the base with the adapter merged into it; taken out again, the base is back.
        LoraAdapter adapter = LoraAdapter.Load(ModelFiles.FromFolder(_folder.At("tuned/adapter")));
        using ModelWeights before = ModelFiles.FromFolder(_folder.At("base")).OpenWeights(), after = ModelFiles.FromFolder(_folder.At("tuned")).OpenWeights();
        IReadOnlyDictionary<string, TensorData> merged = adapter.Merge(before), unmerged = adapter.Unmerge(after);
        foreach (string name in changed)
        {
            Assert.Equal(after[name].ToSingles(), merged[name].ToSingles());
            Assert.All(unmerged[name].ToSingles().Zip(before[name].ToSingles()), w => Assert.Equal(w.Second, w.First, 1e-6f));
        }
    }

    [Fact]
    public void New_adapters_change_nothing_and_merged_ones_give_what_they_give_beside_the_weights()
    {
        var definition = new ClipModel(ClipConfig.Tiny);
        using TorchModel model = TorchModel.Create(definition.Full, seed: 1);
        var random = new Random(2);
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From([.. Enumerable.Range(0, 3 * 3 * 8 * 8).Select(_ => random.NextSingle() - 0.5f)], 3, 3, 8, 8),
            ["input_ids"] = TensorData.From([.. Enumerable.Range(0, 2 * 6).Select(_ => (long)random.Next(50))], 2, 6),
        };
        var plain = model.Run(definition.Full, inputs);
        model.AddLora(new() { Rank = 4, Alpha = 9, RankStabilized = true, Targets = [.. LoraConfig.AttentionTargets, .. LoraConfig.MlpTargets] }, seed: 5);
        Assert.Equal(2 * 2 * 6, model.AdaptedLayers.Count);
        Assert.Equal(plain["logits_per_image"].ToSingles(), model.Run(definition.Full, inputs)["logits_per_image"].ToSingles());

        using (TorchSharp.torch.no_grad())
            foreach (string layer in model.AdaptedLayers)
                TorchSharp.torch.nn.init.normal_(model.Parameters[LoraAdapter.NameOfB(layer)], 0, 0.2);
        var beside = model.Run(definition.Full, inputs);
        using TorchModel merged = TorchModel.Load(definition.Full, model.ToWeights());
        var inside = merged.Run(definition.Full, inputs);
        foreach (string output in new[] { "image_embeds", "text_embeds", "logits_per_image" })
            Assert.All(beside[output].ToSingles().Zip(inside[output].ToSingles()), v => Assert.Equal(v.First, v.Second, 1e-5f));
        Assert.Contains(plain["image_embeds"].ToSingles().Zip(inside["image_embeds"].ToSingles()), v => Math.Abs(v.First - v.Second) > 1e-2);
    }

    [Fact]
    public void A_resumed_training_with_adapters_ends_as_the_undisturbed_one()
    {
        ContrastiveOptions options = _tuning with
        {
            FineTuning = new() { Lora = new() { Rank = 2, Dropout = 0.3 } },
            EmaDecay = 0.9,
            CheckpointSteps = 3,
            Checkpoints = _folder.At("c"),
        };
        byte[] whole = _folder.Weights(options with { Checkpoints = null }, _train);
        using var stop = new CancellationTokenSource();
        int steps = 0;
        _folder.Fit(options with { Cancellation = stop.Token, Progress = new OnStep(_ => { if (++steps == 4) stop.Cancel(); }) }, _train).Dispose();
        Assert.Equal(4, steps);
        Assert.Equal(whole, _folder.Weights(options, _train));
    }

    // Only the adapters are in a checkpoint: on another base they would be nonsense.
    [Theory, InlineData("model.safetensors"), InlineData("tokenizer.json"), InlineData("preprocessor_config.json"), InlineData("config.json")]
    public void A_base_that_was_replaced_is_not_gone_on_from(string file)
    {
        ContrastiveOptions options = _tuning with { FineTuning = new() { Lora = new() { Rank = 2 } }, Checkpoints = _folder.At("c") };
        using var stop = new CancellationTokenSource();
        _folder.Fit(options with { Cancellation = stop.Token, Progress = new OnStep(_ => stop.Cancel()) }, _train).Dispose();

        string path = _folder.At($"base/{file}");
        byte[] before = File.ReadAllBytes(path);
        File.WriteAllBytes(path, Replaced(file, before));
        var e = Assert.Throws<InvalidOperationException>(() => _folder.Fit(options, _train));
        Assert.Contains(_folder.At("base"), e.Message, StringComparison.Ordinal);
        Assert.Contains("goes on from another model", e.Message, StringComparison.Ordinal);
        File.WriteAllBytes(path, before);
        _folder.Fit(options, _train).Dispose();
    }

    static byte[] Replaced(string file, byte[] before)
    {
        if (file == "model.safetensors")
        {
            before = [.. before];
            before[^1] ^= 1; // the sign or the last bit of one weight
            return before;
        }
        string text = Encoding.UTF8.GetString(before), changed = file switch
        {
            "tokenizer.json" => text + "\n",
            "preprocessor_config.json" => text.Replace("\"resample\": 3", "\"resample\": 2", StringComparison.Ordinal),
            _ => text.Replace("quick_gelu", "gelu", StringComparison.Ordinal),
        };
        Assert.NotEqual(text, changed);
        return Encoding.UTF8.GetBytes(changed);
    }

    [Fact]
    public void Random_weights_cannot_be_frozen()
    {
        var e = Assert.Throws<ArgumentException>(() => Changed(new() { LastLayers = 1 }, _tuning with { Initialize = null }));
        Assert.Contains("Initialize", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Adapters_of_a_frozen_tower_stay_as_they_are() =>
        Assert.DoesNotContain(Changed(new() { Frozen = FrozenTowers.Image, Lora = new() { Rank = 2 } }), IsImage);

    [Fact]
    public void Layers_that_are_not_there_are_refused()
    {
        var e = Assert.Throws<ArgumentException>(() => Changed(new() { Lora = new() { Targets = ["w_q"] } }));
        Assert.Contains("w_q", e.Message, StringComparison.Ordinal);
        Assert.Contains("q_proj", e.Message, StringComparison.Ordinal);
    }

    static LoraAdapter Adapter(string config, params ReadOnlySpan<(string Name, long Rows, long Columns)> weights)
    {
        using var stream = new MemoryStream();
        var tensors = new List<KeyValuePair<string, TensorData>>();
        foreach (var (name, rows, columns) in weights) tensors.Add(new(name, TensorData.From(new float[rows * columns], rows, columns)));
        Safetensors.Write(stream, tensors);
        return LoraAdapter.Load(ModelFiles.FromMemory("adapter", new Dictionary<string, ReadOnlyMemory<byte>>
        {
            [LoraAdapter.ConfigFile] = Encoding.UTF8.GetBytes(config),
            [LoraAdapter.WeightsFile] = stream.ToArray(),
        }));
    }

    const string A = "base_model.model.x.lora_A.weight", B = "base_model.model.x.lora_B.weight", Sound = """{"peft_type":"LORA","r":2,"target_modules":["x"]}""";

    [Theory]
    [InlineData("""{"peft_type":"IA3"}""", "IA3")]
    [InlineData("""{"peft_type":"LORA","use_dora":true,"target_modules":["x"]}""", "use_dora")]
    [InlineData("""{"peft_type":"LORA","init_lora_weights":"pissa","target_modules":["x"]}""", "pissa")]
    [InlineData("""{"peft_type":"LORA","rank_pattern":{"x":4},"target_modules":["x"]}""", "rank_pattern")]
    public void Other_adapters_are_refused(string config, string named) =>
        Assert.Contains(named, Assert.Throws<NotSupportedException>(() => Adapter(config)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("{")]
    [InlineData("""{"peft_type":"LORA"}""")]
    [InlineData("""{"peft_type":"LORA","r":0,"target_modules":["x"]}""")]
    [InlineData("""{"peft_type":"LORA","r":2,"lora_dropout":2,"target_modules":["x"]}""")]
    [InlineData("""{"peft_type":"LORA","r":2,"target_modules":[5]}""")]
    public void Unsound_configs_are_named(string config) =>
        Assert.Contains("adapter_config.json", Assert.Throws<InvalidDataException>(() => Adapter(config)).Message, StringComparison.Ordinal);

    [Fact]
    public void Matrices_that_do_not_fit_are_named()
    {
        Assert.Contains("'x'", Assert.Throws<InvalidDataException>(() => Adapter(Sound, (A, 3, 4), (B, 5, 3))).Message, StringComparison.Ordinal);
        Assert.Contains("only one", Assert.Throws<InvalidDataException>(() => Adapter(Sound, (A, 2, 4))).Message, StringComparison.Ordinal);
        Assert.Contains("'y.lora_A.weight'", Assert.Throws<InvalidDataException>(() => Adapter(Sound, ("y.lora_A.weight", 2, 4))).Message, StringComparison.Ordinal);
        LoraAdapter sound = Adapter(Sound, (A, 2, 4), (B, 5, 2));
        Assert.Contains("[4, 5]", Assert.Throws<InvalidDataException>(() =>
            sound.Merge(new Dictionary<string, TensorData> { ["x.weight"] = TensorData.From(new float[20], 4, 5) })).Message, StringComparison.Ordinal);
        Assert.Contains("x.weight [5, 4]", Assert.Throws<InvalidDataException>(() => sound.Merge(new Dictionary<string, TensorData>())).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Modules_that_were_trained_as_a_whole_stand_in_place_of_those_of_the_model()
    {
        const string config = """{"peft_type":"LORA","r":2,"target_modules":["x"],"modules_to_save":["head"]}""", head = "base_model.model.text.head.proj.weight";
        LoraAdapter adapter = Adapter(config, (A, 2, 4), (B, 5, 2), (head, 2, 3));
        var weights = new Dictionary<string, TensorData>
        {
            ["x.weight"] = TensorData.From(new float[20], 5, 4),
            ["text.head.proj.weight"] = TensorData.From([1f, 2f, 3f, 4f, 5f, 6f], 2, 3),
            ["other"] = TensorData.From([1f], 1),
        };
        foreach (LoraAdapter read in new[] { adapter, LoraAdapter.Load(ModelFiles.FromMemory("adapter", adapter.ToFiles())) })
        {
            IReadOnlyDictionary<string, TensorData> merged = read.Merge(weights);
            Assert.Equal(new float[6], merged["text.head.proj.weight"].ToSingles());
            Assert.Same(weights["other"], merged["other"]);
            Assert.Contains("text.head.proj.weight", Assert.Throws<InvalidOperationException>(() => read.Unmerge(merged)).Message, StringComparison.Ordinal);
        }
        weights["text.head.proj.weight"] = TensorData.From([1f], 1);
        Assert.Contains("text.head.proj.weight [2, 3], which is [1]", Assert.Throws<InvalidDataException>(() => adapter.Merge(weights)).Message,
            StringComparison.Ordinal);
        Assert.Contains("base_model.model.body.weight",
            Assert.Throws<NotSupportedException>(() => Adapter(config, ("base_model.model.body.weight", 2, 3))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_of_recorded_graphs_cannot_be_trained()
    {
        string folder = _folder.At("graphs");
        using (MultimodalModel model = MultimodalModel.Load(_folder.At("base"))) OnnxExport.Write(model, folder, OnnxDtype.Fp32);
        var e = Assert.Throws<NotSupportedException>(() => Changed(new(), _tuning with { Initialize = folder }));
        Assert.Contains("onnx/model.onnx", e.Message, StringComparison.Ordinal);
        Assert.Contains("cannot be trained", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_between_two_models()
    {
        var a = new Dictionary<string, TensorData> { ["x"] = TensorData.From([1f, 2f], 2) };
        var b = new Dictionary<string, TensorData> { ["x"] = TensorData.From([3f, -2f], 2) };
        Assert.Equal([1f, 2f], WeightInterpolation.Between(a, b, 0)["x"].ToSingles());
        Assert.Equal([3f, -2f], WeightInterpolation.Between(a, b, 1)["x"].ToSingles());
        Assert.Equal([1.5f, 1f], WeightInterpolation.Between(a, b, 0.25)["x"].ToSingles());
        b["x"] = TensorData.From([float.NaN, 1f], 2);
        Assert.Equal([1f, 2f], WeightInterpolation.Between(a, b, 0)["x"].ToSingles());
        Assert.Throws<ArgumentOutOfRangeException>(() => WeightInterpolation.Between(a, b, 1.1));
        b["y"] = b["x"];
        Assert.Contains("'y'", Assert.Throws<InvalidDataException>(() => WeightInterpolation.Between(a, b, 0.5)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Adapters_of_convolutions_compute_what_their_merged_weights_compute()
    {
        var definition = new ClipModel(ClipConfig.Tiny);
        using TorchModel model = TorchModel.Create(definition.Full, seed: 1), plain = TorchModel.Create(definition.Full, seed: 1);
        model.AddLora(new() { Rank = 3, Targets = LoraConfig.PatchTargets }, seed: 2);
        using (torch.no_grad())
            foreach (string layer in model.AdaptedLayers)
                if (model.Parameters[LoraAdapter.NameOfB(layer)] is var b) b.copy_(torch.linspace(-0.1, 0.1, b.numel()).reshape(b.shape));
        IProgram encoder = definition.Encoders[Modality.Image];
        int size = encoder.Inputs[0].Shape[2].Size;
        var random = new Random(3);
        float[] pixels = [.. Enumerable.Range(0, 2 * 3 * size * size).Select(_ => random.NextSingle() - 0.5f)];
        var inputs = new Dictionary<string, TensorData> { [encoder.Inputs[0].Name] = TensorData.From(pixels, 2, 3, size, size) };
        LoraAdapter adapter = LoraAdapter.Load(ModelFiles.FromMemory("adapter", model.Adapter()!.ToFiles()));
        using TorchModel merged = TorchModel.Load(definition.Full, adapter.Merge(plain.ToWeights()));
        float[] Embeds(TorchModel of) => of.Run(encoder, inputs).Values.First().ToSingles();
        float Apart(float[] a, float[] b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max();
        Assert.Contains(adapter.Layers.Keys, layer => adapter.Layers[layer].A.Shape.Count == 4);
        Assert.True(Apart(Embeds(model), Embeds(plain)) > 1e-3f, "the adapter changes nothing.");
        Assert.True(Apart(Embeds(model), Embeds(merged)) < 1e-5f, $"max |adapted - merged| = {Apart(Embeds(model), Embeds(merged)):g3}");
        IReadOnlyDictionary<string, TensorData> back = adapter.Unmerge(merged.ToWeights()), before = plain.ToWeights();
        float worst = before.Max(w => Apart(w.Value.ToSingles(), back[w.Key].ToSingles()));
        Assert.True(worst < 1e-6f, $"max |before - merged and unmerged| = {worst:g3}");
    }
}

using System.Text;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Tests;

/// <summary>An audio model folder with random weights, and sounds beside it.</summary>
public sealed class TinySound : IDisposable
{
    public const int Sounds = 11, SampleRateHz = 8000;

    public TinySound()
    {
        Root = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;
        Folder = Path.Combine(Root, "tiny");
        Directory.CreateDirectory(Folder);
        foreach (var (name, content) in Files(new AstModel(AstConfig.Tiny), Preprocessing.ToJson()))
            File.WriteAllBytes(Path.Combine(Folder, name), content.ToArray());
        Rows = [.. Enumerable.Range(0, Sounds).Select(WriteSound)];
        Model = MultimodalModel.Load(Folder, new() { Threads = 1 });
    }

    public static SpectrogramPreprocessing Preprocessing { get; } =
        SpectrogramPreprocessing.Ast(AstConfig.Tiny.Frames) with
        {
            LogMel = LogMelConfig.Kaldi(SampleRateHz, AstConfig.Tiny.MelBins),
        };

    public string Root { get; }

    public string Folder { get; }

    public SoundRow[] Rows { get; }

    public MultimodalModel Model { get; }

    /// <summary>A stranger's model of three senses: a tiny CLIP beside a tiny audio tower of the same width.</summary>
    public static MultimodalModel ThreeSenses()
    {
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(["a red cat"], new() { VocabularySize = 520, ContextLength = 8 });
        ClipConfig config = ClipConfig.Tiny;
        var model = new ThreeSensesModel(new(config with
        {
            Text = config.Text with { VocabularySize = tokenizer.VocabularySize, EndTokenId = tokenizer.EndId },
        }));
        Dictionary<string, ReadOnlyMemory<byte>> files = Files(model, ImagePreprocessing.Clip(config.Vision.ImageSize).ToJson());
        files["processor_config.json"] = Encoding.UTF8.GetBytes($$"""{ "feature_extractor": {{Preprocessing.ToJson()}} }""");
        foreach (var (name, content) in tokenizer.Files) files[name] = content;
        return MultimodalModel.Load(ModelFiles.FromMemory("three", files),
            new() { Threads = 1, Families = [.. ModelFamilies.BuiltIn, new(model.ModelType, _ => model)] });
    }

    /// <summary>A model of sounds and texts of random weights, in memory.</summary>
    public static MultimodalModel WithTexts()
    {
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(["a low sound"], new() { VocabularySize = 520, ContextLength = 8 });
        ClipTextConfig text = ClipConfig.Tiny.Text with { VocabularySize = tokenizer.VocabularySize, EndTokenId = tokenizer.EndId };
        Dictionary<string, ReadOnlyMemory<byte>> files =
            Files(new AudioDualEncoderModel(new() { Audio = AstConfig.Tiny, Text = text, ProjectionWidth = 12 }), Preprocessing.ToJson());
        foreach (var (name, content) in tokenizer.Files) files[name] = content;
        return MultimodalModel.Load(ModelFiles.FromMemory("sounds and texts", files), new() { Threads = 1 });
    }

    internal static Dictionary<string, ReadOnlyMemory<byte>> Files(IModelDefinition model, string preprocessor = "{}")
    {
        var random = new Random(5);
        using var weights = new MemoryStream();
        Safetensors.Write(weights,
            ModelSummary.Of(model.Full).Parameters.Select(p => KeyValuePair.Create(p.Name, TinyModel.Draw(p, random))));
        return new()
        {
            ["config.json"] = Encoding.UTF8.GetBytes(model.ToConfigJson()),
            ["preprocessor_config.json"] = Encoding.UTF8.GetBytes(preprocessor),
            ["model.safetensors"] = weights.ToArray(),
        };
    }

    SoundRow WriteSound(int index)
    {
        var random = new Random(index);
        float hz = 150 + 90 * index;
        float Sample(int i) => 0.4f * MathF.Sin(i * hz * MathF.Tau / SampleRateHz) + 0.05f * (random.NextSingle() - 0.5f);
        Waveform sound = new([.. Enumerable.Range(0, 2000 + 300 * index).Select(Sample)], SampleRateHz);
        string path = Path.Combine(Root, $"sound{index:00}.wav");
        WavWriter.Save(sound, path, WavEncoding.Float32);
        return new()
        {
            Path = path,
            Name = Path.GetFileName(path),
            Bytes = File.ReadAllBytes(path),
            Samples = sound.Samples.ToArray(),
            Caption = $"a sound of {hz} Hz",
            Number = index,
        };
    }

    public void Dispose()
    {
        Model.Dispose();
        Directory.Delete(Root, recursive: true);
    }

    sealed class ThreeSensesModel(ClipModel clip) : IModelDefinition, IProgram
    {
        readonly Ears _ears = new(clip.EmbeddingWidth);

        public string ModelType => "three-senses";

        public int EmbeddingWidth => clip.EmbeddingWidth;

        public IReadOnlyDictionary<Modality, IProgram> Encoders =>
            new Dictionary<Modality, IProgram>(clip.Encoders) { [Modality.Audio] = _ears };

        public IProgram Full => this;

        public string? LogitScale => clip.LogitScale;

        public IReadOnlyList<string> IgnoredWeights => clip.IgnoredWeights;

        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs => [.. clip.Full.Inputs, .. _ears.Inputs];

        public string ToConfigJson() => $$"""{ "model_type": "{{ModelType}}" }""";

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [.. clip.Full.Run(ops, inputs), .. _ears.Run(ops, inputs)];
    }

    sealed class Ears(int width) : IProgram
    {
        public string Name => "audio_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
            [new("input_values", ElementType.Float32, Dim.Dynamic("batch"), AstConfig.Tiny.Frames, AstConfig.Tiny.MelBins)];

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T pooled = Ast.Pool(ops, Ast.Encode(ops, "audio_model", AstConfig.Tiny, inputs["input_values"]));
            return [("audio_embeds", ops.L2Normalize(ops.Linear(pooled, "audio_projection", AstConfig.Tiny.Blocks.Width, width)))];
        }
    }
}

public sealed class SoundRow
{
    public string Path { get; set; } = "";

    public string Name { get; set; } = "";

    public byte[] Bytes { get; set; } = [];

    public float[] Samples { get; set; } = [];

    public string Caption { get; set; } = "";

    public float Number { get; set; }
}

using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary>Tests that share one folder with a tiny model and pictures.</summary>
[CollectionDefinition(Name)]
public sealed class ToolCollection : ICollectionFixture<ToolFixture>
{
    public const string Name = "tool";
}

/// <summary>A folder with a tiny model of random weights, and pictures: <c>pictures/red/0.png</c> to <c>5.png</c>, and
/// the same in <c>blue</c>; and a tiny audio model, and sounds: <c>sounds/0.wav</c> to <c>2.wav</c>.</summary>
public sealed class ToolFixture : IDisposable
{
    public const int ImageSize = 8, EmbeddingWidth = 12, PicturesPerClass = 6;

    public ToolFixture()
    {
        Root = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;
        WriteModel();
        var random = new Random(1);
        WritePictures("red", () => (random.Next(160, 256), random.Next(60), random.Next(60)));
        WritePictures("blue", () => (random.Next(60), random.Next(60), random.Next(160, 256)));
        File.WriteAllText(Broken, "no picture");
        WriteAudioModel();
        WriteSoundTextModel();
    }

    public string Root { get; }

    public string Model => At("model");

    public string AudioModel => At("audio-model");

    /// <summary>A model of sounds and texts.</summary>
    public string SoundTextModel => At("sound-text-model");

    public string Pictures => At("pictures");

    public string Sounds => At("sounds");

    public static SpectrogramPreprocessing Spectrogram { get; } =
        SpectrogramPreprocessing.Ast(AstConfig.Tiny.Frames) with { LogMel = LogMelConfig.Kaldi(8000, AstConfig.Tiny.MelBins) };

    public string Broken => At("broken.png");

    public string At(params string[] parts) => Path.Combine([Root, .. parts]);

    public string Picture(string name, int number) => At("pictures", name, $"{number}.png");

    void WriteModel()
    {
        string[] texts = ["a photo of a red thing", "a photo of a blue thing"];
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(texts, new() { VocabularySize = 530, ContextLength = 8 });
        ClipConfig tiny = ClipConfig.Tiny;
        ClipTextConfig text = tiny.Text with { VocabularySize = tokenizer.VocabularySize, EndTokenId = tokenizer.EndId };
        var definition = new ClipModel(tiny with { Text = text });
        WriteFolder(Model, definition, ImagePreprocessing.Clip(ImageSize).ToJson());
        foreach (var (name, bytes) in tokenizer.Files) File.WriteAllBytes(Path.Combine(Model, name), bytes.ToArray());
    }

    void WriteSoundTextModel()
    {
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(["the sound of a dog"], new() { VocabularySize = 530, ContextLength = 8 });
        ClipTextConfig text = ClipConfig.Tiny.Text with { VocabularySize = tokenizer.VocabularySize, EndTokenId = tokenizer.EndId };
        WriteFolder(SoundTextModel, new AudioDualEncoderModel(new() { Audio = AstConfig.Tiny, Text = text, ProjectionWidth = 12 }), Spectrogram.ToJson());
        foreach (var (name, bytes) in tokenizer.Files) File.WriteAllBytes(Path.Combine(SoundTextModel, name), bytes.ToArray());
    }

    void WriteAudioModel()
    {
        WriteFolder(AudioModel, new AstModel(AstConfig.Tiny), Spectrogram.ToJson());
        Directory.CreateDirectory(Sounds);
        for (int n = 0; n < 3; n++)
        {
            float step = 0.1f + 0.2f * n;
            Waveform sound = new([.. Enumerable.Range(0, 4000).Select(i => 0.5f * MathF.Sin(i * step))], 8000);
            WavWriter.Save(sound, At("sounds", $"{n}.wav"));
        }
    }

    static void WriteFolder(string folder, IModelDefinition definition, string preprocessor)
    {
        using TorchModel weights = TorchModel.Create(definition.Full, seed: 1);
        Directory.CreateDirectory(folder);
        Safetensors.Write(Path.Combine(folder, "model.safetensors"), weights.ToWeights());
        File.WriteAllText(Path.Combine(folder, "config.json"), definition.ToConfigJson());
        File.WriteAllText(Path.Combine(folder, "preprocessor_config.json"), preprocessor);
    }

    void WritePictures(string name, Func<(int R, int G, int B)> color)
    {
        Directory.CreateDirectory(At("pictures", name));
        for (int n = 0; n < PicturesPerClass; n++)
        {
            var pixels = new byte[3 * 12 * 10];
            for (int i = 0; i < pixels.Length; i += 3)
            {
                var (r, g, b) = color();
                (pixels[i], pixels[i + 1], pixels[i + 2]) = ((byte)r, (byte)g, (byte)b);
            }
            ImageEncoder.SavePng(new RgbImage(12, 10, pixels), Picture(name, n));
        }
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}

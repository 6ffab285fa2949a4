using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference;

/// <summary>A tokenizer of pictures, loaded: a picture becomes one code for each of its patches, and codes become a picture (VQ-VAE: van
/// den Oord et al. 2017, arXiv:1711.00937). Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class ImageTokenizer : IDisposable
{
    readonly ModelWeights _file;
    readonly Lazy<OnnxSession> _encoder, _decoder;
    readonly VqTokenizerModel _model;

    ImageTokenizer(VqTokenizerModel model, ModelFiles files, ModelWeights file, InferenceOptions options)
    {
        (_model, _file, Files) = (model, file, files);
        Images = ImagePreprocessing.TryLoad(files.TryRead)
            ?? throw new FileNotFoundException($"'{files.Name}' has no preprocessor_config.json, which says how pictures become pixels.");
        int size = model.Config.ImageSize;
        if (Images.Height != size || Images.Width != size)
            throw new InvalidDataException($"preprocessor_config.json of '{files.Name}' makes pictures of {Images.Width}x{Images.Height}, "
                + $"but its config.json wants {size}x{size}.");
        IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(model, file, files.Name);
        Lazy<OnnxSession> Open(IProgram program) => new(() => new(OnnxRecorder.Record(program, weights), options.Threads));
        (_encoder, _decoder) = (Open(model.Encoder), Open(model.Decoder));
    }

    /// <summary>Loads a model folder: <c>config.json</c>, <c>preprocessor_config.json</c> and <c>model.safetensors</c>. The weights stay
    /// mapped to the file until <see cref="Dispose"/>.</summary>
    /// <param name="folder">The folder, or a model of the hub (<see cref="ModelFiles.FromFolder"/>).</param>
    /// <param name="options">Threads; null for the defaults.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">One of the files is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not sound, or weights are missing, surplus or of another shape.</exception>
    /// <exception cref="NotSupportedException">The model is no tokenizer of pictures.</exception>
    public static ImageTokenizer Load(string folder, InferenceOptions? options = null) => Load(ModelFiles.FromFolder(folder), options);

    /// <summary>Loads the files of a tokenizer, from a folder or from memory.</summary>
    /// <param name="files">The files.</param>
    /// <param name="options">Threads; null for the defaults.</param>
    /// <inheritdoc cref="Load(string, InferenceOptions?)" path="/exception"/>
    public static ImageTokenizer Load(ModelFiles files, InferenceOptions? options = null)
    {
        options ??= new();
        IModelDefinition definition = ModelFamilies.Create(files, options.Families);
        if (definition is not VqTokenizerModel model)
            throw new NotSupportedException(
                $"'{files.Name}' is a '{definition.ModelType}', which is no tokenizer of pictures; a 'vq-tokenizer' is one.");
        ModelWeights file = files.OpenWeights();
        try
        {
            return new(model, files, file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The files it was loaded from.</summary>
    public ModelFiles Files { get; }

    /// <summary>Sizes.</summary>
    public VqTokenizerConfig Config => _model.Config;

    /// <summary>How pictures become pixels.</summary>
    public ImagePreprocessing Images { get; }

    /// <summary>Codes a picture.</summary>
    /// <param name="image">The picture, of any size.</param>
    /// <returns>[N]: a code from 0 to V - 1 for each patch, row after row.</returns>
    public long[] Encode(RgbImage image)
    {
        var pixels = new float[3 * Images.Height * Images.Width];
        Images.Apply(image, pixels);
        return Encode(pixels, 1);
    }

    /// <summary>Codes pixels.</summary>
    /// <param name="pixels">[B, C, H, W], as <see cref="Images"/> makes them.</param>
    /// <param name="count">B, at least 1.</param>
    /// <returns>[B, N].</returns>
    /// <exception cref="ArgumentException">There are more or fewer pixels.</exception>
    public long[] Encode(ReadOnlySpan<float> pixels, int count)
    {
        int edge = Config.ImageSize, size = Config.Channels * edge * edge;
        if (count < 1 || pixels.Length != count * size)
            throw new ArgumentException($"pixels must be [{count}, {Config.Channels}, {edge}, {edge}], but are {pixels.Length} numbers.", nameof(pixels));
        TensorData input = TensorData.From(pixels.ToArray(), count, Config.Channels, edge, edge);
        return _encoder.Value.Run(new Dictionary<string, TensorData> { ["pixel_values"] = input })["codes"].ToInt64s();
    }

    /// <summary>Paints a picture from codes.</summary>
    /// <param name="codes">[N], as <see cref="Encode(RgbImage)"/> gives them.</param>
    /// <returns>A picture of <see cref="VqTokenizerConfig.ImageSize"/> pixels.</returns>
    /// <exception cref="ArgumentException">There are more or fewer codes, or one is not in the table.</exception>
    public RgbImage Decode(ReadOnlySpan<long> codes)
    {
        if (codes.Length != Config.Tokens || codes.ContainsAnyExceptInRange(0, Config.CodebookSize - 1))
            throw new ArgumentException($"codes must be {Config.Tokens} numbers from 0 to {Config.CodebookSize - 1}.", nameof(codes));
        TensorData input = TensorData.From(codes.ToArray(), 1, codes.Length);
        float[] pixels = _decoder.Value.Run(new Dictionary<string, TensorData> { ["codes"] = input })["pixel_values"].ToSingles();
        int plane = Config.ImageSize * Config.ImageSize;
        var (mean, std) = (Images.Mean ?? default, Images.Std ?? (1, 1, 1));
        (float Mean, float Std)[] colors = [(mean.R, std.R), (mean.G, std.G), (mean.B, std.B)];
        var bytes = new byte[3 * plane];
        for (int i = 0; i < plane; i++)
            for (int c = 0; c < 3; c++)
            {
                double value = (pixels[c * plane + i] * colors[c].Std + colors[c].Mean) / (Images.RescaleFactor ?? 1);
                bytes[3 * i + c] = (byte)Math.Clamp(Math.Round(value), 0, 255);
            }
        return new(Config.ImageSize, Config.ImageSize, bytes);
    }

    /// <summary>Closes the sessions and the weights. No other call may be under way.</summary>
    public void Dispose()
    {
        foreach (Lazy<OnnxSession> session in new[] { _encoder, _decoder })
            if (session.IsValueCreated) session.Value.Dispose();
        _file.Dispose();
    }
}

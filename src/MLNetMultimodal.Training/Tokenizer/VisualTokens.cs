using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>A trained tokenizer of pictures, whose codes a model is to tell (BEiT: Bao et al. 2022, arXiv:2106.08254, section
/// 2.1).</summary>
sealed class VisualTokens : IDisposable
{
    readonly TorchModel _model;
    readonly TorchOps _ops;

    VisualTokens(VqTokenizerConfig config, ImagePreprocessing images, TorchModel model, string fingerprint) =>
        (Config, Images, _model, _ops, Fingerprint) = (config, images, model, model.Ops(), fingerprint);

    /// <summary>Loads a folder.</summary>
    /// <param name="folder">As <see cref="ImageTokenizerTrainer"/> writes it.</param>
    /// <param name="device">Where it computes.</param>
    /// <exception cref="NotSupportedException">It holds another model.</exception>
    public static VisualTokens Load(string folder, Device device)
    {
        var (start, images) = PretrainingStart<VqTokenizerModel>.Pictures(folder, new(new()), m => m.Config.ImageSize, known => known as VqTokenizerModel);
        TorchModel model = TorchModel.Load(start.Definition.Encoder, start.Weights!, device);
        return new(start.Definition.Config, images, model, BaseFingerprint.Of(start.Definition, start.Files, start.Weights!));
    }

    /// <summary>Sizes.</summary>
    public VqTokenizerConfig Config { get; }

    /// <summary>How it sees pictures.</summary>
    public ImagePreprocessing Images { get; }

    /// <summary>Tells it from others.</summary>
    public string Fingerprint { get; }

    /// <summary>Refuses a model that sees pictures otherwise, has other patches, or another number of tokens to tell.</summary>
    /// <exception cref="ArgumentException">It does.</exception>
    public void CheckFits(ImagePreprocessing images, int imageSize, int patchSize, int vocabularySize)
    {
        if (images != Images)
            throw new ArgumentException("the model's preprocessor_config.json is not the tokenizer's; both must see a picture alike.");
        if (imageSize != Config.ImageSize || patchSize != Config.PatchSize || vocabularySize != Config.CodebookSize)
            throw new ArgumentException($"the model tells {vocabularySize} tokens of patches of {patchSize} pixels in pictures of {imageSize}, "
                + $"but the tokenizer makes {Config.CodebookSize} of patches of {Config.PatchSize} in pictures of {Config.ImageSize}.");
    }

    /// <summary>[B, C, H, W] -> Int64 [B, N].</summary>
    public Tensor Of(Tensor pixels)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        return VqTokenizer.Quantize(_ops, Config, VqTokenizer.Encode(_ops, Config, pixels)).MoveToOuterDisposeScope();
    }

    /// <summary>Judges what is told of hidden patches.</summary>
    /// <param name="outputs">Of a masked program, first [B, N, V].</param>
    /// <param name="batch">The pictures, and what is hidden of them.</param>
    /// <param name="counts">True: right answers are counted too.</param>
    public MaskedScore Score(IReadOnlyList<Tensor> outputs, MaskedTensors batch, bool counts)
    {
        Tensor logits = outputs[0], codes = Of(batch.Whole["pixel_values"]);
        return new(MaskedLoss.Codes(logits, codes, batch.Masked), counts ? MaskedLoss.Right(logits, codes, batch.Masked) : 0,
            counts ? batch.Masked.sum().item<long>() : 0);
    }

    public void Dispose() => _model.Dispose();
}

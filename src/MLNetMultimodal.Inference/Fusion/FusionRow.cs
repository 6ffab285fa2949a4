using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Inference;

/// <summary>What a fusion model sees of one row, prepared by <see cref="FusionPreprocessing"/>; what is null is missing.</summary>
/// <param name="Picture">The picture at the model's size.</param>
/// <param name="Tokens">Ids of the text's tokens.</param>
/// <param name="Sound">The spectrogram, [T, F], normalised.</param>
/// <param name="Numbers">[n]; one that is missing is NaN.</param>
public sealed record FusionRow(RgbImage? Picture, IReadOnlyList<int>? Tokens, float[]? Sound, float[]? Numbers);

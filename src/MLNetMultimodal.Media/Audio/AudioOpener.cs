namespace MLNetMultimodal.Media.Audio;

/// <summary>Opens sound files of the formats that a decoder knows.</summary>
/// <param name="path">The file.</param>
/// <param name="name">What messages call the sound: the path, or the caller's name for bytes that were copied to the
/// file.</param>
/// <param name="cancellation">Stops reading, whenever it is.</param>
/// <returns>A reader; null where the decoder does not know the format.</returns>
public delegate AudioReader? AudioOpener(string path, string name, CancellationToken cancellation);

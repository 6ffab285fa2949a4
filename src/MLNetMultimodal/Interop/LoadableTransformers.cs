extern alias mlstub;

using mlstub::Microsoft.ML;
using MLNetMultimodal;

// What MLContext.Model.Load finds when a zip names this assembly: nothing has to be called first.
[assembly: LoadableClass(typeof(MultimodalTransformer), typeof(MultimodalTransformer), null, typeof(SignatureLoadModel),
    "Embeddings of a multimodal model", MultimodalTransformer.Loader)]
[assembly: LoadableClass(typeof(ZeroShotTransformer), typeof(ZeroShotTransformer), null, typeof(SignatureLoadModel),
    "Zero-shot classification with a multimodal model", ZeroShotTransformer.Loader)]
[assembly: LoadableClass(typeof(ImageTextMatchTransformer), typeof(ImageTextMatchTransformer), null, typeof(SignatureLoadModel),
    "Matches of pictures and texts", ImageTextMatchTransformer.Loader)]
[assembly: LoadableClass(typeof(FusionTransformer), typeof(FusionTransformer), null, typeof(SignatureLoadModel),
    "Predictions from several senses", FusionTransformer.Loader)]
[assembly: LoadableClass(typeof(ModerationTransformer), typeof(ModerationTransformer), null, typeof(SignatureLoadModel),
    "Verdicts of policies on pictures and texts", ModerationTransformer.Loader)]
[assembly: LoadableClass(typeof(SoundTransformer), typeof(SoundTransformer), null, typeof(SignatureLoadModel),
    "Samples or spectrograms of sounds", SoundTransformer.Loader)]
[assembly: LoadableClass(typeof(CodecTransformer), typeof(CodecTransformer), null, typeof(SignatureLoadModel),
    "Codes of sounds, and sounds of codes", CodecTransformer.Loader)]
[assembly: LoadableClass(typeof(ImageTokensTransformer), typeof(ImageTokensTransformer), null, typeof(SignatureLoadModel),
    "Codes of pictures", ImageTokensTransformer.Loader)]
[assembly: LoadableClass(typeof(VideoTransformer), typeof(VideoTransformer), null, typeof(SignatureLoadModel),
    "Frames and soundtracks of videos", VideoTransformer.Loader)]
[assembly: LoadableClass(typeof(FrameSoundTransformer), typeof(FrameSoundTransformer), null, typeof(SignatureLoadModel),
    "Frames of videos that listen to their soundtracks", FrameSoundTransformer.Loader)]

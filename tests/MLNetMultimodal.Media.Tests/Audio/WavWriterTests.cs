using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class WavWriterTests
{
    [Fact]
    public void Loud_samples_are_cut_at_full_scale_and_the_rest_is_rounded()
    {
        var stream = new MemoryStream();
        WavWriter.Write(new([1.5f, -1.5f, 1.4f / 32768, 0.999f], 8000), stream);
        Assert.Equal([32767 / 32768f, -1, 1 / 32768f, 32735 / 32768f], AudioDecoder.Default.Decode(stream.ToArray()).Samples);
    }

    [Fact]
    public void Saved_sound_replaces_the_old_one_and_leaves_nothing_behind()
    {
        string folder = Directory.CreateTempSubdirectory("media-tests").FullName;
        try
        {
            string path = Path.Combine(folder, "sound.wav");
            WavWriter.Save(new(WavFiles.Noise(10, seed: 1), 8000), path);
            WavWriter.Save(new(WavFiles.Noise(20, seed: 2), 16_000, channels: 2), path, WavEncoding.Float32);
            Waveform sound = AudioDecoder.Default.Decode(path);
            Assert.Equal((2, 16_000), (sound.Channels, sound.SampleRateHz));
            Assert.Equal(WavFiles.Noise(20, seed: 2), sound.Samples);
            Assert.Equal([path], Directory.GetFiles(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}

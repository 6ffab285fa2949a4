using System.Globalization;
using QuickStart;
using SkiaSharp;

namespace SpokenDigits;

/// <summary>Draws which word was heard for which.</summary>
static class ConfusionMatrix
{
    const int Cell = 56, Left = 120, Top = 76, Right = 16, Bottom = 16;

    /// <summary>Writes a PNG: a row for each word spoken, a column for each word heard, darker the more often.</summary>
    /// <param name="path">The file.</param>
    /// <param name="words">The classes.</param>
    /// <param name="counts">[spoken, heard].</param>
    public static void Save(string path, IReadOnlyList<string> words, long[,] counts)
    {
        using var bitmap = new SKBitmap(Left + words.Count * Cell + Right, Top + words.Count * Cell + Bottom);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(SKColors.White);
        Letters.Draw(canvas, "heard", Left, 12, 2, SKColors.DimGray);
        Letters.Draw(canvas, "spoken", 12, Top - 24, 2, SKColors.DimGray);
        for (int spoken = 0; spoken < words.Count; spoken++)
        {
            long all = Math.Max(1, Enumerable.Range(0, words.Count).Sum(heard => counts[spoken, heard]));
            Letters.Draw(canvas, words[spoken], 12, Top + spoken * Cell + Cell / 2 - 7, 2, SKColors.Black);
            Letters.Draw(canvas, words[spoken], Left + spoken * Cell + 2, Top - 24, words[spoken].Length > 4 ? 1 : 2, SKColors.Black);
            for (int heard = 0; heard < words.Count; heard++) DrawCell(canvas, spoken, heard, counts[spoken, heard], (double)counts[spoken, heard] / all);
        }
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        using SKData png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(path, png.ToArray());
    }

    static void DrawCell(SKCanvas canvas, int spoken, int heard, long count, double share)
    {
        SKColor full = spoken == heard ? SKColors.SteelBlue : SKColors.Firebrick;
        byte Faded(byte channel) => (byte)(255 - (255 - channel) * Math.Sqrt(share)); // few mistakes are seen too
        using var paint = new SKPaint { Color = new(Faded(full.Red), Faded(full.Green), Faded(full.Blue)) };
        int left = Left + heard * Cell, top = Top + spoken * Cell;
        canvas.DrawRect(SKRect.Create(left, top, Cell - 2, Cell - 2), paint);
        if (count > 0)
            Letters.Draw(canvas, count.ToString(CultureInfo.InvariantCulture), left + 6, top + Cell / 2 - 7, 2, share > 0.5 ? SKColors.White : SKColors.Black);
    }
}
